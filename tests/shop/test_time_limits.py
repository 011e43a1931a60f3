"""Each call of a scenario has a time limit, and so has each scenario, whatever the shop does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from shop.stage.scenarios import command
from shop.stage.scenarios import scenario_run as playing
from shop.stage.scenarios.crowd import Crowd
from shop.stage.scenarios.machine_speed import MachineSpeed
from shop.stage.scenarios.scenario import parse
from shop.stage.scenarios.scenario_run import ScenarioRun
from shop.stage.scenarios.shop_client import NoShop, ShopClient
from shop.stage.total_timeout import TotalTimeoutClient
from tests.loops import on_virtual_asyncio

pytestmark = [pytest.mark.anyio, on_virtual_asyncio]

BYTE_EVERY_S = 1.0  # far within the limit of a single read


class Dripping(httpx2.AsyncByteStream):
    """A body that never ends, a byte at a time."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(BYTE_EVERY_S)
            yield b" "


async def drip(_request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, stream=Dripping())


async def hang(_request: httpx2.Request) -> httpx2.Response:
    await asyncio.Event().wait()
    raise AssertionError


def now_s() -> float:
    return asyncio.get_running_loop().time()


def client(answer: Any, **how: Any) -> TotalTimeoutClient:
    return TotalTimeoutClient(base_url="http://shop", transport=httpx2.MockTransport(answer), **how)


@pytest.mark.parametrize("answer", [drip, hang])
async def test_a_call_ends_within_its_limit_when_the_answer_comes_byte_by_byte(answer: Any) -> None:
    began_s = now_s()
    async with client(answer, timeout=20.0) as http:
        with pytest.raises(httpx2.ReadTimeout, match="no whole answer within 20 s"):
            await http.get("/")
        assert now_s() - began_s == pytest.approx(20.0)
        with pytest.raises(httpx2.ReadTimeout, match="within 3 s"):
            await http.get("/", timeout=3.0)
        assert now_s() - began_s == pytest.approx(23.0)


@pytest.mark.parametrize("answer", [drip, hang])
async def test_a_customer_whose_call_does_not_end_is_counted_as_lost(
    monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", lambda **_how: httpx2.MockTransport(answer))
    result = await Crowd("http://shop").buy(3, "SP-00001", presses=2, apart_s=0.0, patience_s=0.0)
    assert (result.bought, result.lost) == (0, 3)
    result = await Crowd("http://shop").searchers(2, 3)
    assert (result.limited, result.lost) == (0, 6)


@pytest.mark.parametrize(("first_s", "answer_s", "a_second"), [(0.1, 0.1, 60), (0.5, 0.01, 60), (0.4, 0.4, 20)])
async def test_a_greedy_client_searches_as_often_as_written_or_as_often_as_it_gets_answers(
    monkeypatch: pytest.MonkeyPatch, first_s: float, answer_s: float, a_second: int
) -> None:
    asked = 0

    async def answer(_request: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        await asyncio.sleep(first_s if asked <= 8 else answer_s)
        return httpx2.Response(200)

    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", lambda **_how: httpx2.MockTransport(answer))
    flood = asyncio.create_task(Crowd("http://shop").flood(60))
    await asyncio.sleep(4)
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)
    assert asked == pytest.approx(4 * a_second, abs=8)


async def test_a_shop_that_answers_nothing_is_given_up_when_everything_is_put_back() -> None:
    async with client(hang, timeout=20.0) as http:
        shop_client = ShopClient(http)
        shop_client._broken = {"psp"}
        shop_client._switches = {"breaker": True, "idempotency": True}
        shop_client._visitors = 2
        shop_client._has_paid = True
        shop_client.note_presses(2)
        began_s = now_s()
        with pytest.raises(NoShop, match="not everything could be put back within 120 s"):
            await shop_client.restore()
        assert now_s() - began_s <= 121


async def test_faults_are_healed_before_anything_else_is_restored() -> None:
    asked: list[str] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        asked.append(f"{request.method} {request.url.path}")
        return httpx2.Response(200, json={})

    async with client(note) as http:
        shop_client = ShopClient(http)
        shop_client._broken, shop_client._switches, shop_client._visitors = {"psp"}, {"breaker": True}, 2
        shop_client.note_presses(2)
        await shop_client.restore()
    assert asked == [
        "DELETE /control/api/faults/psp",
        "PUT /control/api/switches/breaker",
        "PUT /control/api/load",
        "DELETE /control/api/second-orders",
    ]


def without_a_shop(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Plays that need no shop; gives what they put back."""
    restored: list[str] = []

    async def nothing(*_whom: object, **_how: object) -> None:
        return None

    async def quick(*_whom: object, **_how: object) -> MachineSpeed:
        return MachineSpeed(0.1, 0.01)

    async def restore(_shop: ShopClient) -> None:
        restored.append("everything")

    monkeypatch.setattr(playing, "measured", quick)
    monkeypatch.setattr(ShopClient, "deliver", nothing)
    monkeypatch.setattr(ShopClient, "restore", restore)
    return restored


async def test_a_scenario_that_takes_four_times_its_time_is_stopped_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restored = without_a_shop(monkeypatch)
    play = ScenarioRun(
        parse("slow", 'title = "t"\nsummary = "s"\ntakes_s = 60\n[[steps]]\nwait_s = 9999'), "http://shop"
    )
    began_s = now_s()
    assert not await play.run()
    assert now_s() - began_s == pytest.approx(240)
    told = play.view()["told"]
    assert told[-1] == (
        "Stopped: your machine is too busy for this story. It usually takes 60 s, and has not ended after 240 s."
    )
    assert restored == ["everything"]


async def test_a_scenario_that_is_stopped_by_its_user_is_not_called_late(monkeypatch: pytest.MonkeyPatch) -> None:
    restored = without_a_shop(monkeypatch)
    play = ScenarioRun(
        parse("slow", 'title = "t"\nsummary = "s"\ntakes_s = 60\n[[steps]]\nwait_s = 9999'), "http://shop"
    )
    performing = asyncio.create_task(play.run())
    await asyncio.sleep(100)
    performing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await performing
    assert "too busy" not in "".join(play.view()["told"])
    assert restored == ["everything"]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(lambda path: httpx2.Response(200, json={"scenario": None}), id="started again"),
        pytest.param(lambda path: httpx2.Response(503), id="away"),
    ],
)
async def test_the_command_ends_when_the_control_room_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: Callable[[str], httpx2.Response]
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/control/api/scenario":
            return answers(request.url.path)
        return httpx2.Response(200, json={})

    def over_no_network(**how: Any) -> TotalTimeoutClient:
        return client(answer, timeout=how["timeout"])

    monkeypatch.setattr(command, "TotalTimeoutClient", over_no_network)
    assert await command.played("double-click", "http://shop", 1.0) == 1
    assert capsys.readouterr().err == "shop: the control room went away in the middle of the scenario\n"


CHECK = '[[steps]]\nexpect = "c"\nof = "crowd.bought"\nequals = 10\nwithin_s = 0'


@pytest.mark.parametrize(
    ("always", "told", "held"),
    [("", "  NOT JUDGED: c", None), ("\nalways = true", "  DOES NOT HOLD: c", False)],
    ids=["what time decides", "what no load may change"],
)
async def test_a_busy_machine_excuses_only_checks_that_depend_on_time(
    monkeypatch: pytest.MonkeyPatch, always: str, told: str, held: bool | None
) -> None:
    without_a_shop(monkeypatch)

    async def state(_shop: ShopClient) -> dict[str, object]:
        return {"current": True}

    async def quick(*_whom: object) -> MachineSpeed:
        return MachineSpeed(0.1, 0.01)

    async def slow(*_whom: object) -> MachineSpeed:
        return MachineSpeed(0.0, 2.0)

    monkeypatch.setattr(ShopClient, "state", state)
    monkeypatch.setattr(playing, "measured", quick)
    monkeypatch.setattr(playing, "measured_again", slow)
    play = ScenarioRun(parse("t", f'title = "t"\nsummary = "s"\ntakes_s = 60\n{CHECK}{always}'), "http://shop")
    assert not await play.run()
    seen = play.view()
    assert told in seen["told"]
    assert seen["expectations"][0]["held"] is held
    assert ("too busy for this story" in seen["told"][-1]) is (held is None)
