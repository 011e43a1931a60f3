"""Inventory: how many pieces there are, and who holds them."""
