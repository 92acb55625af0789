"""Pixels: images in, larger images out; knows nothing of accounts, jobs or HTTP."""
