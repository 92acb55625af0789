"""What every store must hold to: one suite for each interface, for tests and for operators."""
