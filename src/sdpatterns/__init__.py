"""Distributed-system patterns as small typed state machines."""
