"""Catalog: what the shop sells, found by page and by word."""
