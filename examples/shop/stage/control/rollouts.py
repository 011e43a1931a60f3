"""A new release of a service beside the old one: promoted step by step, or taken back by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sdpatterns.observability.rollout import Counts, Judgement, Rollout
from shop.background import together
from shop.problems import Problem
from shop.settings import ALONE, DEPLOYABLES, PUBLIC, Settings
from shop.stage.control.replicas import Replicas
from shop.stage.control.views import Beats
from shop.stage.release import SHARE_PATH, Release
from shop.validation import FieldError, InvalidInput

_log = logging.getLogger("shop.control")
ROLLABLE = tuple(name for name in DEPLOYABLES if name not in (*ALONE, PUBLIC))
"""Those of which there are several, and which clients choose among; the gateway's visitors come to one port."""
_LOOK_S = 1.0
_STARTS_MAX_S = 60.0
_REQUESTS_MIN, _STEP_MIN_S, _STEP_MAX_S = 12, 5.0, 300.0


class NotReplaced(Exception):
    """A replica of the release that was asked for did not come up in time."""


class Rollouts:
    """One rollout at a time.

    Keeps: the last replica of the service gets the new release, and asks its callers for a share of the traffic; the
    others follow when `Rollout` has promoted it three times. Where it is worse than the others, the old
    release is put back in its place.
    """

    def __init__(self, replicas: Replicas, settings: Settings) -> None:
        self._replicas = replicas
        self._ask = settings.replaced
        self._running: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._is_closing = False
        self._view: dict[str, Any] = {}
        self._seen: dict[tuple[str, str, str], Counts] = {}

    @property
    def can_begin(self) -> list[str]:
        """The services of which a new release can be rolled out here."""
        if self._ask is None:
            return []
        return [name for name in ROLLABLE if len(self._replicas.addresses(DEPLOYABLES[name][0])) > 1]

    @property
    def is_running(self) -> bool:
        """Whether replicas are being replaced or judged."""
        return self._running is not None and not self._running.done()

    def view(self) -> dict[str, Any]:
        """How far it is; the last one is shown until the next begins."""
        return {"can_begin": self.can_begin, "running": self.is_running, **self._view}

    def begin(self, deployable: str, *, has_bug: bool, at_once: bool) -> None:
        """Roll the next release of a service out, step by step or to all replicas at once.

        409 while another rollout runs, or where none is possible.
        """
        if deployable not in ROLLABLE:
            raise InvalidInput(FieldError("/service", f"must be one of {', '.join(ROLLABLE)}"))
        if deployable not in self.can_begin:
            raise Problem(409, "needs-replicas", "A rollout needs several replicas: start with --procs --replicas 2.")
        if self.is_running:
            raise Problem(409, "rollout-running", "A rollout is running; stop it first.")
        self._running = asyncio.create_task(self._run_to_end(self._run(deployable, has_bug=has_bug, at_once=at_once)))

    def stop(self) -> None:
        """Begin to take the new release back, where it is not everywhere yet or was given to all at once."""
        if self.is_running and self._running is not None:
            self._running.cancel()
        elif self._view.get("result") == "released":
            self._running = asyncio.create_task(self._run_to_end(self._take_back()))

    async def aclose(self) -> None:
        """Leave everything as it is: the shop ends, or another control room comes and takes the new release back."""
        self._is_closing = True
        tasks = [task for task in (self._running, self._settling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def settle(self) -> None:
        """Begin to put the old release back where an earlier control room has left a rollout half done.

        A rollout that begins meanwhile waits for that.
        """
        self._settling = asyncio.create_task(self._run_to_end(self._settle()))

    async def _settle(self) -> None:
        for deployable in self.can_begin:
            beats = await self._all_beats(deployable)
            versions = [beat["version"] for beat in beats if beat]
            for number, beat in enumerate(beats, 1):
                if beat and beat["version"] > min(versions):
                    await self._replace(deployable, number, Release(version=min(versions)))

    async def _all_beats(self, deployable: str) -> list[Any]:
        """The pulses of all replicas: one that was being replaced is waited for, because it may be the new release."""
        ends_s = time.monotonic() + _STARTS_MAX_S
        while True:
            beats = list((await self._beats(deployable)).values())
            if all(beats) or time.monotonic() > ends_s:
                return beats
            await asyncio.sleep(_LOOK_S)

    async def _run_to_end(self, run: Coroutine[Any, Any, None]) -> None:
        try:
            await run
        except NotReplaced as failure:
            self._view |= {"result": "failed", "reason": str(failure)}
        except Exception:  # noqa: BLE001 - whatever it was, the control room goes on
            self._view |= {"result": "failed", "reason": "see the log"}
            _log.exception("a rollout failed")

    async def _run(self, deployable: str, *, has_bug: bool, at_once: bool) -> None:
        if self._settling is not None:
            await asyncio.wait({self._settling})
        beats = await self._beats(deployable)
        old = max((beat["version"] for beat in beats.values() if beat), default=1)
        self._view = {"service": deployable, "version": old + 1, "before": old, "result": "", "doubt": 0.0}
        if at_once:
            self._view |= {"weight": 1.0, "reason": "all replicas get it at once"}
            await self._replace_all(Release(version=old + 1, has_bug=has_bug), range(1, 1 + len(beats)))
            self._view["result"] = "released"
        else:
            await self._step_by_step(deployable, len(beats), Release(version=old + 1, has_bug=has_bug))

    async def _step_by_step(self, deployable: str, last: int, new: Release) -> None:
        rollout = Rollout(
            f"{deployable} {new.version}", requests_min=_REQUESTS_MIN, step_min_s=_STEP_MIN_S, step_max_s=_STEP_MAX_S
        )
        self._view |= {"weight": rollout.weight, "reason": "the first replica of the new release starts"}
        try:
            await self._replace(deployable, last, replace(new, share=rollout.weight))
            await self._judged(deployable, last, rollout)
        except BaseException:
            self._view |= {"result": "rolled back", "weight": 0.0, "reason": "it was stopped"}
            if not self._is_closing:
                await self._replace(deployable, last, Release(version=self._view["before"]))
            raise
        if rollout.weight:
            await self._replace_all(new, range(1, last))
        else:
            await self._replace(deployable, last, Release(version=self._view["before"]))
        self._view["result"] = "promoted" if rollout.weight else "rolled back"

    async def _take_back(self) -> None:
        """Put the old release back in place of one that all replicas got at once."""
        count = len(self._replicas.addresses(DEPLOYABLES[self._view["service"]][0]))
        self._view |= {"result": "", "reason": "the old release comes back"}
        await self._replace_all(Release(version=self._view["before"]), range(1, 1 + count))
        self._view |= {"result": "rolled back", "weight": 0.0, "reason": "it was taken back by hand"}

    async def _replace_all(self, release: Release, numbers: Iterable[int]) -> None:
        """Have a release run in place of these replicas, one after the other."""
        for number in numbers:
            await self._replace(self._view["service"], number, release)

    async def _judged(self, deployable: str, last: int, rollout: Rollout) -> None:
        """Look at both releases each second until the rollout has ended."""
        self._seen, counted = {}, {True: Counts(0), False: Counts(0)}
        while not rollout.ended:
            await self._count(deployable, last, counted)
            seen = rollout.observe(counted[True], counted[False], now_s=time.monotonic())
            self._show(seen, counted)
            if seen.weight:
                await self._want_share(deployable, last, seen.weight)
            await asyncio.sleep(_LOOK_S)

    def _show(self, seen: Judgement, counted: Mapping[bool, Counts]) -> None:
        self._view |= {"weight": seen.weight, "reason": seen.reason, "doubt": round(seen.doubt, 2)}
        for name, counts in (("new", counted[True]), ("old", counted[False])):
            self._view[name] = {"requests": counts.requests, "failed": counts.failed}

    async def _count(self, deployable: str, last: int, counted: dict[bool, Counts]) -> None:
        """Add what callers have seen since the last look: of the new release (True), and of the others."""
        new = {self._replicas.addresses(context)[last - 1].partition("//")[2] for context in DEPLOYABLES[deployable]}
        for caller, at, counts in _calls(await self._replicas.pulses(_LOOK_S / 2), DEPLOYABLES[deployable]):
            known = self._seen.setdefault((*caller, at), counts)
            more = counts.since(known)
            self._seen[*caller, at] = counts
            counted[at in new] = Counts(*map(sum, zip(counted[at in new], more, strict=True)))

    async def _want_share(self, deployable: str, last: int, share: float) -> None:
        """Have the replica ask for this share of the traffic, in all that runs there."""
        ours = [self._replicas.addresses(context)[last - 1] for context in DEPLOYABLES[deployable]]
        wanted = 0.0 if share == 1 else share
        await together(*(self._replicas.ask(address, "PUT", SHARE_PATH, {"share": wanted}) for address in ours))

    async def _replace(self, deployable: str, number: int, release: Release) -> None:
        """Have another release run in place of a replica, and wait until it answers."""
        assert self._ask is not None  # `begin` has looked
        self._ask(deployable, number, release)
        ends_s = time.monotonic() + _STARTS_MAX_S
        while time.monotonic() < ends_s:
            beat = list((await self._beats(deployable)).values())[number - 1]
            if beat and (beat["version"], beat["share"]) == (release.version, release.share):
                return
            await asyncio.sleep(_LOOK_S / 2)
        raise NotReplaced(
            f"{deployable} {number} did not come up with release {release.version} in {_STARTS_MAX_S:g} s"
        )

    async def _beats(self, deployable: str) -> Beats:
        return (await self._replicas.pulses(0.0))[DEPLOYABLES[deployable][-1]]


def _calls(pulses: Mapping[str, Beats], contexts: Iterable[str]) -> Iterable[tuple[tuple[str, str], str, Counts]]:
    """What each replica of each caller has counted at each replica of the contexts that it asks."""
    for beats in pulses.values():
        for address, pulse in beats.items():
            for call in pulse["calls"] if pulse else ():
                if call["to"] in contexts:
                    for at, counts in call["replicas"].items():
                        yield (address, call["to"]), at, Counts(*counts)
