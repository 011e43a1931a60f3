"""Gateway: the only service that is open to the outside, for programs and for people."""
