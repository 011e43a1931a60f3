"""Adapters of the ports: one folder a backend, one file a port."""
