from __future__ import annotations

import dataclasses
import logging

import pytest

from sdpatterns.core.notices import LISTENERS, Notice, listen, tell


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TeaServed(Notice):
    sugar: int


def test_a_notice_reaches_every_listener_in_order() -> None:
    heard: list[tuple[str, Notice]] = []
    notice = TeaServed(name="pot", sugar=2)
    with listen(lambda told: heard.append(("first", told))), listen(lambda told: heard.append(("second", told))):
        tell(notice)
    tell(notice)
    assert heard == [("first", notice), ("second", notice)]


def test_there_is_no_listener_afterwards() -> None:
    before = list(LISTENERS)
    mine = listen(lambda _: None)
    mine.__enter__()
    assert len(LISTENERS) == len(before) + 1
    mine.__exit__(None, None, None)
    assert before == LISTENERS
    with pytest.raises(KeyError), listen(lambda _: None):
        raise KeyError
    assert before == LISTENERS


def test_a_listener_may_stop_to_listen_while_it_is_told() -> None:
    heard: list[str] = []

    def once(told: Notice) -> None:
        heard.append(told.name)
        LISTENERS.remove(once)
        LISTENERS.append(lambda _: None)

    with listen(lambda told: heard.append(f"also {told.name}")):
        LISTENERS.insert(0, once)
        tell(TeaServed(name="pot", sugar=0))
        tell(TeaServed(name="cup", sugar=0))
        LISTENERS.pop()
    assert heard == ["pot", "also pot", "also cup"]


def test_a_listener_that_fails_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Notice] = []

    def broken(_: Notice) -> None:
        raise ZeroDivisionError

    with listen(broken), listen(heard.append), caplog.at_level(logging.ERROR, "sdpatterns"):
        tell(TeaServed(name="pot", sugar=0))
    assert len(heard) == 1
    assert "TeaServed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_notice_says_what_happened_in_snake_case_and_can_not_be_changed() -> None:
    notice = TeaServed(name="pot", sugar=2)
    assert notice.event == "tea_served"
    assert notice.labels() == {"name": "pot"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        notice.sugar = 3  # type: ignore[misc]
