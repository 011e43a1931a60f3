"""The scenarios, played as the page and the command play them, and what remains of them: nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shop.__main__ import main
from shop.scenarios.play import holds, look_up
from shop.scenarios.script import BadScript, load, names, parse

from .visitor import Visitor

pytestmark = pytest.mark.anyio

FAST = {"pace": 50}


async def scenario(visitor: Visitor) -> dict[str, Any]:
    found: dict[str, Any] = (await visitor.get("/control/api/state"))["scenario"]
    return found


async def played(visitor: Visitor, name: str, within_s: float = 280) -> dict[str, Any]:
    answer = await visitor.http.post(f"/control/api/scenarios/{name}", json=FAST)
    assert answer.status_code == 202, answer.text
    async with asyncio.timeout(within_s):
        while not (seen := await scenario(visitor))["ended"]:  # noqa: ASYNC110 - whoever watches stands outside
            await asyncio.sleep(0.5)
    return seen


async def is_as_before(visitor: Visitor) -> None:
    state = await visitor.get("/control/api/state")
    assert all(defence["on"] for defence in state["defences"].values())
    assert state["faults"] == []
    assert state["load"] == {"visitors": 0}


@pytest.mark.parametrize("name", names())
async def test_a_scenario_holds_and_may_be_played_again(visitor: Visitor, name: str) -> None:
    times = 2 if name == "double-click" else 1  # the others are long, and put everything back in the same way
    for _ in range(times):
        seen = await played(visitor, name)
        missed = [expectation["text"] for expectation in seen["expectations"] if not expectation["held"]]
        assert not missed
        assert seen["step"] == seen["steps"]
        await is_as_before(visitor)
    await visitor.all_holds()


async def test_a_scenario_that_is_stopped_puts_everything_back(visitor: Visitor) -> None:
    slow = {"pace": 0.1}
    assert (await visitor.http.post("/control/api/scenarios/payment-provider-dies", json=slow)).status_code == 202
    async with asyncio.timeout(120):
        while not (await visitor.get("/control/api/state"))["faults"]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.2)
    assert (await visitor.http.post("/control/api/scenarios/double-click", json=FAST)).status_code == 409
    assert (await visitor.http.delete("/control/api/scenarios")).status_code == 200
    assert (await scenario(visitor))["ended"]
    await is_as_before(visitor)


async def test_the_bill_lists_what_can_be_played(shared: Visitor) -> None:
    bill = await shared.get("/control/api/scenarios")
    assert {"black-friday", "double-click", "payment-provider-dies"} <= {card["name"] for card in bill}
    for card in bill:
        assert card.keys() == {"name", "title", "summary", "takes_s"}
        assert 60 <= card["takes_s"] <= 90
    assert (await shared.http.post("/control/api/scenarios/no-such", json={})).status_code == 404
    assert (await shared.http.post("/control/api/scenarios/double-click", json={"pace": 0})).status_code == 422


async def test_the_load_dial_brings_visitors_and_sends_them_home(visitor: Visitor) -> None:
    answer = await visitor.http.put("/control/api/load", json={"visitors": 5})
    assert answer.json() == {"visitors": 5}
    async with asyncio.timeout(120):
        while not any(  # noqa: ASYNC110 - as above
            service["rate"] for service in (await visitor.get("/control/api/state"))["services"]
        ):
            await asyncio.sleep(0.2)
    assert (await visitor.http.put("/control/api/load", json={"visitors": 51})).status_code == 422
    assert (await visitor.http.put("/control/api/load", json={"visitors": 0})).json() == {"visitors": 0}


def test_without_a_shop_the_command_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "double-click", "--url", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("shop: no shop answers at http://127.0.0.1:9\n")
    assert "python -m shop up" in said


def test_the_command_lists_the_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "--list"]) == 0
    assert "double-click" in capsys.readouterr().out


async def test_the_command_plays_one_and_says_what_held(visitor: Visitor, capsys: pytest.CaptureFixture[str]) -> None:
    from shop.scenarios.command import played as command

    assert await command("double-click", visitor.place.public, 50.0) == 0
    said = capsys.readouterr().out
    assert "holds: customers are charged twice" in said
    assert "DOES NOT HOLD" not in said


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ('[[steps]]\nswitch = "limiter"\nheal = "psp"', "exactly one"),
        ("[[steps]]\nwait_s = 1\nfast = true", "does not go with"),
        ('[[steps]]\nexpect = "all is well"\nof = "broken"', "an expectation needs"),
        ("[[steps]]\nnothing = 1", "exactly one"),
    ],
)
def test_a_script_that_nobody_could_play_is_refused(steps: str, reason: str) -> None:
    with pytest.raises(BadScript, match=reason):
        parse("bad", f'title = "t"\nsummary = "s"\ntakes_s = 60\n{steps}')


@pytest.mark.parametrize("name", names())
def test_every_scenario_shows_defended_off_harm_and_on_again(name: str) -> None:
    script = load(name)
    positions = [step.details["on"] for step in script.steps if step.verb == "switch"]
    assert positions == [True, False, True]
    harms = [step.details for step in script.steps if step.verb == "expect" and "harm" in step.details["of"]]
    assert [details.get("equals") for details in harms] == [0, None, 0]
    assert harms[1]["above"] == 0


def test_looking_up_and_judging() -> None:
    document = {"a": {"b": 3}, "c": "open"}
    assert look_up(document, "a.b") == 3
    assert look_up(document, "a.x.y") is None
    assert holds("open", {"equals": "open"})
    assert holds(3, {"above": 2, "below": 4})
    assert not holds(3, {"above": 3})
    assert not holds(None, {"above": 0})


async def test_the_command_waits_for_no_other_and_disturbs_none(
    visitor: Visitor, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two would put back what the other had thrown, and leave a defence off for good."""
    from shop.scenarios.command import played as command

    begun = await visitor.http.post("/control/api/scenarios/double-click", json={"pace": 1})
    assert begun.status_code == 202
    assert await command("black-friday", visitor.place.public, 50.0) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "shop: Double click is being played there; stop it on the page, or wait for its end\n"
    assert not (await scenario(visitor))["ended"]
    assert (await visitor.http.request("DELETE", "/control/api/scenarios")).status_code == 200
