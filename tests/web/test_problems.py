from __future__ import annotations

import json
from typing import Any

import pytest

from sdpatterns import errors
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
        (errors.ClaimLost("n", "secret"), 409, None),
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


def test_an_error_of_somebody_else_is_no_problem_of_ours() -> None:
    assert problem_of(KeyError("x")) is None
    assert problem_of(errors.CodecError("a cell that cannot be read is no fault of the client")) is None
