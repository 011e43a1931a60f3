"""Middleware for any WSGI application: the ASGI parts, run without an event loop."""
