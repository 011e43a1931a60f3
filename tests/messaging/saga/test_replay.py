"""Today's code over the journals of runs that have ended: what fits, and the first step that does not."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.errors import ReplayFailed
from sdpatterns.messaging.saga import SagaRun, Sagas, SagaWorker
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop
pytestmark = pytest.mark.anyio

SagaFunction = Callable[[SagaRun, int], Awaitable[object]]


class Declined(Exception):
    """The card is not good."""


async def reserve(amount: int) -> tuple[int, bytes]:
    return amount, b"\x00"


async def charge(amount: int) -> int:
    if amount > 10:
        raise Declined(f"{amount} is too much")
    return amount


async def release(_: object) -> None: ...


async def never_run(*_: object) -> Any:
    raise AssertionError("a replay runs no step")


async def pack(run: SagaRun, amount: int) -> object:
    return await run.step("pack", charge, amount)


async def as_recorded(run: SagaRun, amount: int) -> object:
    await run.step("reserve", reserve, amount, undo=release)
    await run.parallel(run.step("left", charge, 1, undo=release), run.step("right", charge, 2))
    await run.sleep("rest", 3600)
    who = await run.signal("approved", timeout_s=60) if amount < 10 else "no one"
    try:
        await run.signal("never", timeout_s=60)
    except TimeoutError:
        await run.step("charge", charge, amount)
    return who


def same_as_recorded(step: Callable[..., Awaitable[Any]]) -> SagaFunction:
    async def place_order(run: SagaRun, amount: int) -> object:
        await run.step("reserve", step, amount, undo=step)
        await run.parallel(run.step("left", step, 1, undo=step), run.step("right", step, 2))
        await run.sleep("rest", 1)
        if amount < 10:
            await run.signal("approved", timeout_s=60)
        try:
            await run.signal("never", timeout_s=60)
        except TimeoutError:
            await run.step("charge", step, amount)
        return None

    return place_order


def sagas_with(function: SagaFunction, *, version: int = 1) -> Sagas:
    sagas = Sagas("orders", backend=MemoryBackend())
    sagas.saga(name="place_order", version=version, give_up_on=(Declined,))(function)
    return sagas


@pytest.fixture
async def journals(tmp_path: Path) -> Path:
    """The journals of one run that has completed, of one that was undone, and of one that was cancelled."""
    sagas = sagas_with(as_recorded)
    saga = sagas.known["place_order", 1]
    async with SagaWorker(sagas):
        good, bad, late = [await saga.options(id=it).start(n) for it, n in (("a/1", 7), ("bad", 11), ("late", 8))]
        await good.signal("approved", "Ada")
        await late.cancel("too late")
        assert await good.result(timeout_s=10_000) == "Ada"
        for handle in (bad, late):
            with pytest.raises(Exception, match="was undone"):
                await handle.result(timeout_s=10_000)
    paths = await sagas.record("a/1", "bad", "late", to=tmp_path)
    assert [path.name for path in paths] == [
        f"place_order-1-{name}.journal.jsonl" for name in ("a%2F1", "bad", "late")
    ]  # fmt: skip
    return tmp_path


async def test_the_same_steps_fit_and_none_of_them_is_run(journals: Path) -> None:
    replayed = await sagas_with(same_as_recorded(never_run)).replay(journals)
    assert len(replayed) == 3


async def differences(journals: Path, function: SagaFunction, **options: Any) -> list[str]:
    with pytest.raises(ReplayFailed) as caught:
        await sagas_with(function, **options).replay(journals)
    assert caught.value.count == 3
    return list(caught.value.differences.values())


async def test_a_step_that_is_gone_is_named(journals: Path) -> None:
    async def place_order(run: SagaRun, amount: int) -> None:
        await run.parallel(run.step("left", charge, 1), run.step("right", charge, 2))

    told = await differences(journals, place_order)
    assert told[0] == "the code has changed: the journal goes on with 'reserve', and the code is at its end"


async def test_steps_in_another_order_do_not_fit_although_all_are_there(journals: Path) -> None:
    async def place_order(run: SagaRun, amount: int) -> None:
        await run.sleep("rest", 3600)
        await as_recorded(run, amount)

    told = await differences(journals, place_order)
    assert told[0] == "the code has changed: the journal goes on with 'reserve', and the code asks for sleep 'rest'"


async def test_a_step_of_another_kind_and_a_new_one_in_the_middle_do_not_fit(journals: Path) -> None:
    async def place_order(run: SagaRun, amount: int) -> None:
        await run.pivot("reserve", reserve, amount)

    told = await differences(journals, place_order)
    assert set(told) == {"'reserve' is a step in the journal, and a pivot in the code"}

    async def greeting(run: SagaRun, amount: int) -> None:
        await run.step("reserve", reserve, amount)
        await run.step("greet", charge, amount)
        await run.parallel(run.step("left", charge, 1), run.step("right", charge, 2))

    told = await differences(journals, greeting)
    # Which branch began first is for the loop to say.
    assert re.search("the journal goes on with '(left|right)', and the code asks for step 'greet'", told[0])


async def test_a_new_step_behind_the_last_one_fits(journals: Path) -> None:
    async def place_order(run: SagaRun, amount: int) -> None:
        await as_recorded(run, amount)
        await run.step("thank", never_run)

    assert len(await sagas_with(place_order).replay(journals)) == 3


async def test_other_arguments_and_a_version_that_is_gone_do_not_fit(journals: Path) -> None:
    async def place_order(run: SagaRun, cents: int) -> None: ...

    told = await differences(journals, place_order)
    assert set(told) == {"the arguments do not fit the function: unknown amount, missing cents"}
    told = await differences(journals, as_recorded, version=2)
    assert set(told) == {"version 1 of 'place_order' is gone from the code, which has [2]"}


async def test_it_says_which_files_differ(journals: Path) -> None:
    (journals / "odd.journal.jsonl").write_text('{"format": 1, "run": "x"}\n{"type": "step-done"}\n')
    (journals / "newer.journal.jsonl").write_text('{"format": 2, "run": "x"}\n')
    (journals / "empty.journal.jsonl").write_text("")
    with pytest.raises(ReplayFailed) as caught:
        await sagas_with(as_recorded).replay(journals)
    head, empty, newer, odd = str(caught.value).splitlines()
    assert head == "3 of 6 journals of 'orders' do not fit the code:"
    assert "empty.journal.jsonl is no journal of a run" in empty
    assert "has format 2; this release knows 1" in newer
    assert "odd.journal.jsonl, line 2: 'entry'" in odd


async def test_a_recording_can_be_read_and_comes_back_as_it_was(journals: Path) -> None:
    lines = [json.loads(line) for line in (journals / "place_order-1-a%2F1.journal.jsonl").read_text().splitlines()]
    assert lines[0] == {"format": 1, "sagas": "orders", "run": "a/1", "saga": "place_order", "version": 1}
    assert [line["type"] for line in lines[1:4]] == ["run-started", "signal-received", "step-began"]
    assert lines[2]["entry"] == {"signal": "approved", "value": "Ada"}


async def test_there_must_be_a_journal(tmp_path: Path) -> None:
    sagas = sagas_with(as_recorded)
    with pytest.raises(LookupError, match="there are no recorded journals"):
        await sagas.replay(tmp_path)
    with pytest.raises(LookupError, match="there is no run 'x'"):
        await sagas.record("x", to=tmp_path)


async def test_a_run_that_never_started_is_not_recorded(tmp_path: Path) -> None:
    sagas = sagas_with(as_recorded)
    await sagas.queue.publish((sagas.driver("late"),))
    await anyio.sleep(6)
    await SagaWorker(sagas).run_due()
    with pytest.raises(LookupError, match="was never started"):
        await sagas.record("late", to=tmp_path)
