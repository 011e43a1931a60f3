"""One claim on one key: the heartbeat, the answer, the way back."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sdpatterns.coordination.idempotency.config import IdempotencyConfig
from sdpatterns.coordination.idempotency.decision import ClaimStatus, Record, RecordCodec, Release, Renew, Settle
from sdpatterns.coordination.idempotency.notices import AnswerNotStored, AnswerStored, ClaimLeft, ClaimReleased
from sdpatterns.core.codec import Codec
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.error_codec import ErrorCodec
from sdpatterns.core.heartbeat import Heartbeat
from sdpatterns.core.keys import join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.outage import Outage
from sdpatterns.core.runtime import current
from sdpatterns.errors import AnswerNotKept, BackendError, ClaimLost, OutcomeUnknown, SdpatternsError
from sdpatterns.ports.states import Cells, DirectCells, Space, StateStore
from sdpatterns.ports.within import View

__all__ = ["Claim", "ClaimTable", "Key", "Replay", "current_claim", "shown"]

T = TypeVar("T")

Key: TypeAlias = str | tuple[str, ...]
"""One name, or several parts that are joined so that different parts never collide."""

_RELEASE_MAX_S = 5.0
_PAUSE_FIRST_S = 0.05
_PAUSE_MAX_S = 1.0

_CURRENT: ContextVar[Claim | None] = ContextVar("sdpatterns_claim", default=None)


def shown(key: Key) -> str:
    """The key as errors and notices name it."""
    return key if isinstance(key, str) else join_key(*key)


def within_deadline_s(seconds: float) -> float:
    """`seconds`, or less where the carried deadline comes earlier."""
    left_s = deadline_left_s()
    return seconds if left_s is None else min(seconds, left_s)


def current_claim() -> Claim:
    """The claim under which the running function works, so that it can store its answer itself.

    Raises `LookupError` outside such a function, and where the store was away and allowed to be.
    """
    claim = _CURRENT.get()
    if claim is None:
        raise LookupError("this code does not run under a claim")
    return claim


class Replay(NamedTuple):
    """The work was done before: its answer, or the declared error it ended with."""

    answer: Any
    fence: int
    error: Exception | None = None

    def result(self) -> Any:
        """The answer; raises the error where one was stored."""
        if self.error is not None:
            raise self.error
        return self.answer


class ClaimTable:
    """Where one policy's claims are written, and in which form."""

    __slots__ = ("cells", "codec", "config", "errors", "name", "outage", "skew_us", "space", "waits")

    def __init__(
        self,
        name: str,
        store: StateStore,
        config: IdempotencyConfig,
        codec: Codec[Any],
        errors: ErrorCodec,
        keys_max: int,
    ) -> None:
        self.name = name
        self.config = config
        self.codec = codec
        self.errors = errors
        self.skew_us = store.clock.by_us
        self.outage = Outage(f"Idempotency {name!r}", config.on_outage, store)
        self.space = Space(join_key("idempotency", name), RecordCodec(), keys_max=keys_max, overflow="refuse")
        self.cells: Cells[Record] = store.cells(self.space)
        self.waits = not isinstance(self.cells, DirectCells)

    @property
    def lease_us(self) -> int:
        """The lease in the store's unit; longer where another client's clock may be ahead of its owner's."""
        return int(self.config.lease_s * 1_000_000) + self.skew_us

    @property
    def keep_s(self) -> float:
        """How long an answer is kept, so that no client finds its time over too early."""
        return self.config.keep_s + self.skew_us / 1_000_000

    def cells_of(self, view: View | None) -> Cells[Record]:
        """The cells, or the same cells in the caller's transaction."""
        return self.cells if view is None else view.states.cells(self.space)

    def topic(self, key: str) -> str:
        """What is announced when the claim on `key` ends."""
        return join_key(self.space.name, key)

    def written(self, codec: Codec[Any], value: Any) -> bytes:
        """`value` as bytes. Raises `ValueError` for too many of them."""
        data = codec.encode(value)
        if len(data) > self.config.answer_bytes_max:
            raise ValueError(f"an answer of {len(data)} bytes is over answer_bytes_max, {self.config.answer_bytes_max}")
        return data


# Functions, because methods would make a claim and its heartbeat keep each other: see `Heartbeat.let_go`.
async def _renewed(table: ClaimTable, cell: str, owner: str, fence: int) -> bool:
    return await table.cells.transact(cell, Renew(owner, fence, table.lease_us))


def _lost(name: str, key: Key, fence: int, why: str) -> ClaimLost:
    if LISTENERS:
        tell(ClaimLeft(name=name, key=shown(key), fence=fence, error=why))
    return ClaimLost(name, shown(key))


class Claim:
    """The right to do the work of one key, alone, while its lease lasts.

    `fence` grows with every claim on the key: hand it to the resource that has to refuse a late owner.

    **Keeps**: an answer is stored only while no newer claim was made; once it is, no other caller
    runs the work. **May fail** with `ClaimLost`, `BackendUnavailable` or `OutcomeUnknown`.
    **Costs** one step to store or release, one per third of a lease to renew.
    """

    __slots__ = ("_cell", "_ended", "_heartbeat", "_key", "_released", "_table", "fence", "owner")

    def __init__(self, table: ClaimTable, key: Key, cell: str, owner: str, fence: int, until: float) -> None:
        self._table = table
        self._cell = cell
        self._key = key
        self.owner = owner
        self.fence = fence
        self._heartbeat = Heartbeat(
            table.config.lease_s,
            until,
            partial(_renewed, table, cell, owner, fence),
            partial(_lost, table.name, key, fence),
        )
        self._ended = False
        self._released = False

    @property
    def key(self) -> str:
        """What it is a claim on; several parts as one text."""
        return shown(self._key)

    @property
    def is_settled(self) -> bool:
        """Whether its answer is stored (or will be, when the caller's transaction commits)."""
        return self._ended

    @property
    def is_lost(self) -> bool:
        """Whether it is known that another caller holds it, or that its lease ended without renewal."""
        return self._heartbeat.lost is not None

    @property
    def lease_left_s(self) -> float:
        """Seconds of lease, counted from before the store was asked; negative when it is over."""
        return self._heartbeat.left_s

    async def run(self, function: Callable[[], Awaitable[T]], /) -> T:
        """`hold`, and store the result unless the work has stored or released the claim itself."""
        results: list[T] = []

        async def work() -> T:
            """Remember the result, so that a cancellation after it finds it."""
            results.append(await function())
            return results[0]

        async def cut_off() -> None:
            """Keep the answer if the work was done when the cancellation came; otherwise give the key back."""
            if not results:
                await self.release()
                return
            with contextlib.suppress(Exception):
                await self._keep(results[0])

        result = await self._held(work, cut_off)
        await self._keep(result)
        return result

    async def hold(self, function: Callable[[], Awaitable[T]], /) -> T:
        """Run the work while a heartbeat keeps the lease.

        Work that raises gives the claim back, so that a retry runs it again, unless the exception
        is declared in `store_errors`: that one is stored. Work that is cancelled gives it back
        too. When the lease is lost the work is cancelled and `ClaimLost` is raised.
        """
        return await self._held(function, self.release)

    async def _held(self, function: Callable[[], Awaitable[T]], cut_off: Callable[[], Awaitable[None]]) -> T:
        before = _CURRENT.get()
        _CURRENT.set(self)
        try:
            return await self._heartbeat.hold(function, failed=self._end_with, cut_off=cut_off)
        finally:
            # By value, not by token: a coroutine that is dropped may be closed in another context.
            _CURRENT.set(before)

    async def _keep(self, result: object) -> None:
        # What a forked child made of the work is no answer: its parent works on.
        if self._ended or self._released or self._heartbeat.is_inherited:
            return
        try:
            await self.store(result)
        except BackendError as error:
            if LISTENERS:
                tell(AnswerNotStored(name=self._table.name, key=self.key, fence=self.fence, error=str(error)))
            if self._table.config.on_outage == "refuse":
                # The work has happened, but it is unknown whether a later caller will find its answer.
                raise OutcomeUnknown(
                    f"{self._table.name!r} did the work of {self.key!r}; its answer: {error}"
                ) from error
            self._table.outage.met(error)

    async def store(self, answer: Any, *, within: View | None = None) -> None:
        """Store the answer; later callers with the same request get it.

        With `within=backend.within(session)` it becomes durable together with the caller's own
        rows, or not at all. Without, a store that is away is asked again while the lease lasts.

        Raises `AnswerNotKept` for an answer that the codec cannot write, or that is over
        `answer_bytes_max`: the key is then spent, because the work was carried out. With `within` such an
        answer raises what the codec raised, so that the transaction and with it the work is undone.
        """
        try:
            data = self._table.written(self._table.codec, answer)
        except Exception as error:
            if within is not None:
                # The caller's transaction is not committed, so nothing of the work has happened yet.
                raise
            await self._spend(error)
            raise AnswerNotKept(self._table.name, self.key, answer) from error
        # No renewal from here on, because one that comes after the answer would report the claim as lost.
        self._heartbeat.end()
        await self._settle(ClaimStatus.DONE, data, within)

    async def _spend(self, error: Exception) -> None:
        """Remember that the work was carried out, where its answer cannot be kept."""
        self._heartbeat.end()
        await self._settle(ClaimStatus.SPENT, b"", None)
        if LISTENERS:
            tell(AnswerNotStored(name=self._table.name, key=self.key, fence=self.fence, error=str(error)))

    async def release(self) -> None:
        """Give the key back without an answer. Never raises: at worst the key is busy until the lease ends."""
        self._heartbeat.end()
        self._released = True
        step = Release(self.owner, self.fence, self._table.topic(self._cell))
        try:
            held = await self._shielded(lambda: self._table.cells.transact(self._cell, step), _RELEASE_MAX_S)
        except (SdpatternsError, TimeoutError) as error:
            if LISTENERS:
                tell(ClaimLeft(name=self._table.name, key=self.key, fence=self.fence, error=str(error)))
            return
        if held and LISTENERS:
            tell(ClaimReleased(name=self._table.name, key=self.key, fence=self.fence))

    async def _end_with(self, error: Exception) -> None:
        if not self._table.errors.knows(error) or self._ended:
            # An exception that is not declared may be a failure that passes, so a retry runs the work again.
            await self.release()
            return
        try:
            try:
                data = self._table.written(self._table.errors, error)
            except Exception as failure:  # noqa: BLE001 - the caller is owed the work's own exception
                await self._spend(failure)
            else:
                await self._settle(ClaimStatus.FAILED, data, None)
        except SdpatternsError as failure:
            if LISTENERS:
                tell(AnswerNotStored(name=self._table.name, key=self.key, fence=self.fence, error=str(failure)))
            await self.release()

    async def _settle(self, status: ClaimStatus, data: bytes, view: View | None) -> None:
        table = self._table
        step = Settle(self.owner, self.fence, status, data, table.keep_s, table.topic(self._cell))
        if view is not None:
            # Neither shielded nor repeated, because the caller's transaction decides whether it happens.
            stored = await table.cells_of(view).transact(self._cell, step)
        elif table.waits:
            stored = await self._settled(step)
        else:
            # A store that never waits answers before a cancellation can come.
            stored = await self._insist(step)
        # The store compares the fence: a claim that ended while the work ran must not replace a newer answer.
        if not stored:
            raise self._heartbeat.lose("another claim owns the key")
        self._ended = True
        if LISTENERS and status is not ClaimStatus.SPENT:
            tell(AnswerStored(name=table.name, key=self.key, fence=self.fence))

    async def _settled(self, step: Settle) -> bool:
        # The work has happened: a cancellation must not come between it and its answer.
        try:
            return await self._shielded(lambda: self._insist(step), max(self.lease_left_s, _RELEASE_MAX_S))
        except TimeoutError as late:
            raise OutcomeUnknown("the store did not say whether the answer is stored") from late

    async def _insist(self, step: Settle) -> bool:
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                return await self._table.cells.transact(self._cell, step)
            except BackendError:
                # Asked again while the lease lasts, because the work is done and only its answer is missing.
                # A repeat is harmless: a settled claim with the same fence answers yes.
                if within_deadline_s(self.lease_left_s) <= pause_s:
                    raise
            await current().sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _shielded(self, work: Callable[[], Awaitable[T]], at_most_s: float) -> T:
        # A store that never waits has no `await` at which a cancellation could come.
        return await (current().shield(work, at_most_s=at_most_s) if self._table.waits else work())
