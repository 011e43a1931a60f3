"""SQLite: its dialect, its one connection and the thread that owns it, its statements for each port."""
