"""Doors to HTTP: ASGI middleware, httpx transports, problem details."""
