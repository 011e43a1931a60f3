"""Logs on Redis: the scripts, and the names of their keys."""
