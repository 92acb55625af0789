"""The creative engine: Stable Diffusion under a tile ControlNet, which invents detail."""
