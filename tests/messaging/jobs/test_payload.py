"""Arguments on their way through the queue: by name, in versions, and refused where they would not come back."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.messaging.jobs import Jobs, Worker
from sdpatterns.messaging.jobs.payload import JobCall, decoded, encoded
from sdpatterns.ports.queue import Message
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop


@pytest.fixture
def jobs() -> Jobs:
    return Jobs("mail", backend=MemoryBackend())


async def reasons_after(jobs: Jobs, *messages: Message) -> list[str]:
    """What a worker says of messages that it parks."""
    await jobs.publish(messages)
    async with Worker(jobs):
        while (await jobs.queue.depth()).parked < len(messages):
            await _turn()
    return [it.reason for it in await jobs.queue.parked(10)]


async def _turn() -> None:
    from sdpatterns.core.runtime import current

    await current().sleep(0.1)


@pytest.mark.anyio
async def test_arguments_come_back_with_their_types(jobs: Jobs) -> None:
    given: dict[str, Any] = {
        "price": Decimal("9.90"), "at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "sizes": {1, 2}, "raw": b"\x00\xff",
    }  # fmt: skip

    @jobs.job(keep_result_s=60)
    async def echo(**everything: Any) -> dict[str, Any]:
        return everything

    async with Worker(jobs):
        assert await (await echo.enqueue(**given)).result(5) == given


def test_arguments_that_the_function_does_not_take_are_refused_when_it_is_enqueued(jobs: Jobs) -> None:
    @jobs.job
    async def send(to: str) -> None: ...

    wrong: Any = send
    with pytest.raises(TypeError, match="missing a required argument: 'to'"):
        wrong.message()
    with pytest.raises(TypeError, match="unexpected keyword argument 'cc'"):
        wrong.message("a", cc="b")
    with pytest.raises(TypeError, match="object cannot be stored"):
        wrong.message(object())


@pytest.mark.anyio
async def test_a_job_of_another_release_is_parked_and_says_why(jobs: Jobs) -> None:
    @jobs.job(version=3, upgrades={2: lambda arguments: {**arguments, "cc": None}})
    async def send(to: str, cc: str | None) -> None: ...

    calls = [
        JobCall("sned", 1, {"to": "a"}),
        JobCall("send", 4, {"to": "a"}),
        JobCall("send", 1, {"to": "a"}),
        JobCall("send", 3, {"to": "a", "bcc": "b"}),
    ]
    messages = [Message(id=f"{place}", payload=encoded(*call)) for place, call in enumerate(calls)]
    found = await reasons_after(jobs, *messages, Message(id="odd", payload=b"1:{}"))
    assert sorted(found) == sorted(
        [
            "CodecError: no job is called 'sned' here",
            "UnknownVersion: version 4 of 'send'; this release knows 3",
            "UnknownVersion: version 1 of 'send' has no upgrade from 1",
            "CodecError: the arguments do not fit the function: unknown bcc, missing cc",
            "CodecError: not the call of a job: b'1:{}'",
        ]
    )


@pytest.mark.anyio
async def test_an_old_payload_is_read_by_new_code(jobs: Jobs) -> None:
    @jobs.job(
        version=3,
        keep_result_s=60,
        upgrades={1: lambda it: {"to": it["address"]}, 2: lambda it: {**it, "cc": it["to"] + ".cc"}},
    )
    async def send(to: str, cc: str) -> str:
        return f"{to} {cc}"

    await jobs.publish([Message(id="old", payload=encoded("send", 1, {"address": "a"}))])
    async with Worker(jobs):
        assert await jobs.handle("old").result(5) == "a a.cc"


def test_a_call_survives_the_way_there_and_back() -> None:
    call = JobCall("send", 2, {"to": "a", "tags": ("x", 1)})
    assert decoded(encoded(*call)) == call


def test_two_jobs_of_one_name_are_refused(jobs: Jobs) -> None:
    jobs.job(name="send")(lambda: None)
    with pytest.raises(ValueError, match="two jobs of 'mail' are called 'send'"):
        jobs.job(name="send")(lambda: None)


def test_a_generator_is_no_job(jobs: Jobs) -> None:
    def numbers() -> Any:
        yield 1

    with pytest.raises(TypeError, match="a job is a function that returns"):
        jobs.job(numbers)
