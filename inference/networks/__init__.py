"""One file for each architecture; parameters carry the names of the published checkpoints."""
