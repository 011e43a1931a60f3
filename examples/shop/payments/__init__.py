"""Payments: money taken once, given back once, and never in doubt for long."""
