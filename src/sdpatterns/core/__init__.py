"""The words all rooms share. Imports nothing of the package but `errors`."""
