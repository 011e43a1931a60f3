"""Middleware for any WSGI application: the ASGI parts behind a door that needs no event loop."""
