"""Where things are kept: the key-value store and the object store."""
