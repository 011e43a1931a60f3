"""Scenarios: something breaks for a minute, told and checked. Page, command and tests play the same files."""
