from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sdpatterns import Idempotency, RateLimiter, errors, per_minute
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from sdpatterns.web.http_sf import string_item
from sdpatterns.web.problems import Problem, problem_of, retry_after


def test_a_problem_is_compact_json_with_its_own_members() -> None:
    problem = Problem(status=429, detail="Slow down.", more={"limit": 5}, retry_after_s=0.2)
    assert json.loads(problem.body()) == {
        "type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": "Slow down.", "limit": 5,
    }  # fmt: skip
    assert dict(problem.headers()) == {
        b"content-type": b"application/problem+json", b"cache-control": b"no-store", b"retry-after": b"1",
    }  # fmt: skip


def test_a_status_without_a_phrase_has_a_title_all_the_same() -> None:
    assert Problem(status=599).members()["title"] == "Error"


@pytest.mark.parametrize(
    ("field", "settings"), [("status", {"status": 200}), ("more", {"status": 400, "more": {"type": "x"}})]
)
def test_a_bad_problem_is_refused_by_name(field: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=field):
        Problem(**settings)


@pytest.mark.parametrize(("seconds", "value"), [(0.0, "1"), (0.01, "1"), (1.0, "1"), (1.01, "2"), (59.9, "60")])
def test_retry_after_never_asks_too_early(seconds: float, value: str) -> None:
    assert retry_after(seconds) == value


@pytest.mark.parametrize(
    ("error", "status", "seconds"),
    [
        (errors.RateLimited("n", "secret", retry_after_s=2.5), 429, 2.5),
        (errors.ClaimHeld("n", "secret", retry_after_s=1.0), 409, 1.0),
        (errors.ClaimLost("n", "secret"), 409, 1.0),
        (errors.StaleFence("secret", presented=1, seen=2), 412, None),
        (errors.AnswerNotKept("n", "secret", "secret"), 409, None),
        (errors.KeyReused("n", "secret"), 422, None),
        (errors.CircuitIsOpen("n", "secret", retry_after_s=9.0), 503, 9.0),
        (errors.BulkheadFull("n", "secret"), 503, 1.0),
        (errors.DeadlineExceeded("n", 2.0), 504, None),
        (errors.BackendUnavailable("redis://secret"), 503, 1.0),
        (errors.OutcomeUnknown("secret"), 503, 1.0),
        (errors.CursorNotValid("secret"), 400, None),
    ],
)
def test_each_of_our_errors_is_a_problem_that_tells_no_secret(
    error: Exception, status: int, seconds: float | None
) -> None:
    problem = problem_of(error)
    assert problem is not None
    assert (problem.status, problem.retry_after_s) == (status, seconds)
    assert b"secret" not in problem.body()


def test_an_error_of_another_library_is_no_problem_of_ours() -> None:
    assert problem_of(KeyError("x")) is None
    assert problem_of(errors.CodecError("a cell that cannot be read is no fault of the client")) is None


def test_its_headers_have_a_form_in_text() -> None:
    problem = Problem(status=503, retry_after_s=1.5)
    assert problem.text_headers() == {
        "content-type": "application/problem+json", "cache-control": "no-store", "retry-after": "2",
    }  # fmt: skip


def test_a_limit_that_a_guard_keeps_is_the_kind_of_problem_that_the_door_answers_with() -> None:
    problem = problem_of(errors.RateLimited("api", "key", retry_after_s=1.0))
    assert problem is not None
    assert problem.type == "https://www.iana.org/assignments/http-problem-types#quota-exceeded"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the field is missing"),
        (["8e03978e"], "put the value in double quotes"),
        (["token"], "put the value in double quotes"),
        (['"a", "b"'], "not a structured field with one item"),
    ],
)
def test_a_field_that_is_no_string_says_what_to_mend(lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        string_item(lines)
    assert string_item(['"8e03978e"']) == "8e03978e"


async def _nowhere(_scope: Any, _receive: Any, _send: Any) -> None: ...


def test_a_door_that_awaits_refuses_what_blocking_gave_when_it_is_built() -> None:
    limiter: Any = blocking(RateLimiter("api", per_minute(5)))
    with pytest.raises(TypeError, match=re.escape("not blocking(RateLimiter 'api')")):
        RateLimitMiddleware(_nowhere, limiter)
    once: Any = blocking(Idempotency("http", store=MemoryBackend().states))
    with pytest.raises(TypeError, match=re.escape("not blocking(Idempotency 'http')")):
        IdempotencyMiddleware(_nowhere, once)
