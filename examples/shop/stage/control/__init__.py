"""Control: what must always hold, read from the ledgers, and the switch that tries to break it."""
