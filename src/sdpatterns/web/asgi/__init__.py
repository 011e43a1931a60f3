"""Middleware for any ASGI application: plain classes around `app(scope, receive, send)`."""
