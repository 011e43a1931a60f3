"""Rate limits per key, exact, in memory and across a fleet."""
