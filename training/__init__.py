"""How the built-in network's weights are made; not part of the installed service."""
