"""Pure algorithms that two rooms need: no I/O, no clock, no randomness of their own."""
