from __future__ import annotations

import copy
import pickle

import pytest

from sdpatterns import errors

MADE = [
    errors.RateLimited("api", "user", retry_after_s=1.5),
    errors.CircuitIsOpen("psp"),
    errors.DeadlineExceeded("psp", 2.0),
    errors.KeyReused("checkout", "k"),
    errors.ClaimLost("checkout", "k"),
    errors.StaleFence("ledger", presented=1, seen=2),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_every_error_says_who_and_what(error: errors.SdpatternsError) -> None:
    who = getattr(error, "name", None) or getattr(error, "resource", None)
    assert repr(who) in str(error)


def test_a_refusal_says_when_to_come_again() -> None:
    assert str(MADE[0]) == "rate limit reached: 'api' for key 'user'; try again in 1.500 s"
    assert str(MADE[1]) == "circuit is open: 'psp'"


def test_a_deadline_is_a_timeout_and_an_unknown_outcome_a_backends_fault() -> None:
    assert issubclass(errors.DeadlineExceeded, TimeoutError)
    assert issubclass(errors.OutcomeUnknown, errors.BackendError)
    assert issubclass(errors.UnknownVersion, errors.CodecError)


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_may_cross_to_another_process(error: errors.SdpatternsError) -> None:
    for copied in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(copied) is type(error)
        assert str(copied) == str(error)


def test_a_deadline_has_no_error_number_though_a_timeout_error_is_an_os_error() -> None:
    late = errors.DeadlineExceeded("psp", 2.0)
    assert (late.errno, late.strerror) == (None, None), "clients such as aiohttp's look at it"
