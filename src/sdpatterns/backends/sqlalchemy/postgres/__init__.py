"""Postgres: its dialect, its connections with and without a loop, its statements for each port."""
