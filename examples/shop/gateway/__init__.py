"""Gateway: the shop's only public door, for programs and for people."""
