"""Ordering: turns a cart into an order that is paid or undone, and nothing in between for long."""
