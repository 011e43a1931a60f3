"""The store engine: what every store of cells shares, written once."""
