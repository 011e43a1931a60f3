"""What tests need of cells without a server: a space, and a transition on one state."""

from __future__ import annotations

from typing import Any

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.ports.states import Space


def space(name: str, **bounds: Any) -> Space[Any]:
    """A space whose cells stay in this process, where no codec is used."""
    return Space(name, IntegersCodec(), **bounds)


def on_one(transition: Any, state: Any, now_us: float) -> tuple[Any, Any, float, Any]:
    """The next state, the answer, for how long to keep the state, and the topics to wake."""
    (after,), answer, (keep_s,), wake = transition((state,), now_us)
    return after, answer, keep_s, wake


def reserved(transition: Any, state: Any, now_us: float) -> tuple[Any, Any, float, Any]:
    """The same for a step that answers something for each cell."""
    after, (answer,), keep_s, wake = on_one(transition, state, now_us)
    return after, answer, keep_s, wake
