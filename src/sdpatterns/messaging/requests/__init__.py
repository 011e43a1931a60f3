"""Request and reply over a queue: ask a question, and wait for the answer of a process that is free."""

from sdpatterns.messaging.requests.requests import RequestBackend, Requests
from sdpatterns.messaging.requests.responder import IncomingRequest, RequestHandler, Responder

__all__ = ["IncomingRequest", "RequestBackend", "RequestHandler", "Requests", "Responder"]
