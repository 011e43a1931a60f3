"""Errors as RFC 9457 problem documents: one shape for every service and every cause."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdpatterns.observability.recording import current_span
from shop.validation import InvalidInput

_log = logging.getLogger("shop.problems")


class Problem(Exception):
    """An answer that is a refusal: carries the status, a short slug for machines and a sentence for people."""

    def __init__(
        self, status: int, slug: str, detail: str, *, retry_after_s: float | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.members = members

    def document(self) -> dict[str, Any]:
        """The problem as a JSON object."""
        return {
            "type": f"/problems/{self.slug}",
            "title": self.slug.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }

    def headers(self) -> dict[str, str]:
        """When to ask again, where that is known."""
        return {} if self.retry_after_s is None else {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}

    def response(self) -> Response:
        """The problem as an HTTP response."""
        document = json.dumps(self.document())
        return Response(document, self.status, self.headers(), media_type="application/problem+json")


def not_found(what: str) -> Problem:
    """There is no such thing here."""
    return Problem(404, "not-found", f"There is no {what} here.")


def as_problem(error: Exception) -> Problem:
    """Any error as a problem that a client may see, without internal details."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidInput):
        errors = [{"pointer": item.pointer, "detail": item.detail} for item in error.errors]
        return Problem(422, "invalid-input", "Some values cannot be accepted.", errors=errors)
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:
        return not_found("such page")
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return Problem(error.status_code, phrase.lower().replace(" ", "-"), f"{phrase}.")
    return Problem(500, "internal-error", "Something went wrong on our side.")


def answer(request: Request, error: Exception) -> Response:
    """The handler of every error in every service."""
    response = as_problem(error).response()
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


HANDLED: tuple[type[Exception], ...] = (Problem, InvalidInput, HTTPException)


class UnexpectedMiddleware:
    """Answers unexpected exceptions: the caller gets a 500, the log and the trace get the exception, once."""

    def __init__(self, app: ASGIApp, on_error: Callable[[Request, Exception], Response]) -> None:
        self._app = app
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if begun:
                raise  # it is too late for another answer: the server cuts it off, and logs why
            _log.error("unexpected error", exc_info=error)
            if (span := current_span()) is not None:
                span.add_error(error)
            await self._on_error(Request(scope), error)(scope, receive, send)
