"""Scenarios: a minute in which something breaks, told and checked. The page, the command and the tests play the same files."""
