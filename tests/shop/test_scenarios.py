"""The scenarios, played as the page and the command play them, and what remains of them: nothing."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shop.__main__ import main
from shop.stage.scenarios import crowd
from shop.stage.scenarios.crowd import Crowd, CrowdResult
from shop.stage.scenarios.machine_speed import APART, MachineSpeed, Processor, measured
from shop.stage.scenarios.scenario import InvalidScenario, Scenario, Step, load, names, parse
from shop.stage.scenarios.scenario_run import ScenarioRun, TooBusy, bounds, filled, holds, look_up
from shop.stage.scenarios.shop_client import ShopClient

from .visitor import Visitor

pytestmark = pytest.mark.anyio

TOO_BUSY = "too busy for this story"
FAST = {"pace": 50, "size": 0.1}  # as few people as each story needs
EACH_TIME = "double-click"  # the others put everything back in the same way
WAITS_LONG = "silent-carrier"  # over a minute, for the pauses between attempts; `test_switches` has its defence


async def scenario(visitor: Visitor) -> dict[str, Any]:
    found: dict[str, Any] = (await visitor.get("/control/api/scenario"))["scenario"]
    return found


async def played(visitor: Visitor, name: str, how: dict[str, float], within_s: float = 280) -> dict[str, Any]:
    answer = await visitor.http.post(f"/control/api/scenarios/{name}", json=how)
    assert answer.status_code == 202, answer.text
    async with asyncio.timeout(within_s):
        while not (seen := await scenario(visitor))["ended"]:  # noqa: ASYNC110 - the test watches from outside
            await asyncio.sleep(0.5)
    return seen


def is_too_busy(seen: dict[str, Any]) -> bool:
    """Whether the scenario stopped because this machine has too much other work."""
    return bool(seen["ended"]) and TOO_BUSY in "".join(seen["told"])


async def is_as_before(visitor: Visitor) -> None:
    state = await visitor.state()
    assert all(defence["on"] for defence in state["defences"].values())
    assert state["faults"] == []
    assert state["load"] == {"visitors": 0}


async def holds_in_the_end(visitor: Visitor, name: str, how: dict[str, float]) -> bool:
    """Whether the scenario held; else this machine was too busy, and it says so. Everything is put back."""
    seen = await played(visitor, name, how)
    await is_as_before(visitor)
    if is_too_busy(seen):
        return False
    missed = [expectation["text"] for expectation in seen["expectations"] if not expectation["held"]]
    assert not missed, seen["told"]
    assert seen["held"]
    assert all("–" not in row.values() for row in seen["table"])
    assert len(seen["table"]) >= 2
    assert not any("{" in text or "None" in text for text in seen["told"]), "numbers come from what happened"
    assert seen["step"] == seen["steps"]
    await visitor.all_holds()
    return True


ALONE = [name for name in names() if not load(name).needs_replicas]
"""The scenarios that a shop in one process can play."""


@pytest.mark.nightly  # each time the command plays one, below
@pytest.mark.parametrize("name", [name for name in ALONE if name != WAITS_LONG])
async def test_a_scenario_holds(shared: Visitor, name: str) -> None:
    await holds_in_the_end(shared, name, FAST)


@pytest.mark.long
@pytest.mark.parametrize("name", ALONE)
async def test_a_scenario_holds_with_all_its_people_and_may_be_played_again(visitor: Visitor, name: str) -> None:
    for _ in range(2):
        await holds_in_the_end(visitor, name, {"pace": 50})


async def test_a_scenario_that_is_stopped_puts_everything_back(shared: Visitor) -> None:
    assert (await shared.http.post("/control/api/scenarios/payment-provider-dies", json=FAST)).status_code == 202
    async with asyncio.timeout(120):
        provider = f"{shared.settings.address('psp')}/internal/pulse"
        while not (await shared.get(provider))["fault"]:
            if is_too_busy(await scenario(shared)):
                return
            await asyncio.sleep(0.1)
    assert (await shared.http.post("/control/api/scenarios/double-click", json=FAST)).status_code == 409
    assert (await shared.http.delete("/control/api/scenarios")).status_code == 200
    assert (await scenario(shared))["ended"]
    await is_as_before(shared)


@pytest.mark.nightly
async def test_a_scenario_that_is_stopped_while_people_pay_twice_leaves_no_second_order(shared: Visitor) -> None:
    assert (await shared.http.post("/control/api/scenarios/double-click", json=FAST)).status_code == 202
    async with asyncio.timeout(120):
        while not (await shared.state())["defences"]["idempotency"]["harm"]["count"]:
            if (await scenario(shared))["ended"]:
                assert is_too_busy(await scenario(shared))
                return
            await asyncio.sleep(0.1)
    assert (await shared.http.delete("/control/api/scenarios")).status_code == 200
    await is_as_before(shared)
    await shared.all_holds()


async def test_the_list_of_scenarios_is_complete(shared: Visitor) -> None:
    bill = await shared.get("/control/api/scenarios")
    assert {"black-friday", "double-click", "payment-provider-dies"} <= {card["name"] for card in bill}
    for card in bill:
        assert card.keys() == {"name", "title", "summary", "takes_s"}
        assert 60 <= card["takes_s"] <= 90
    assert (await shared.http.post("/control/api/scenarios/no-such", json={})).status_code == 404
    for wrong in ({"pace": 0}, {"size": 0}, {"size": 2}, {"size": "all"}, {"size": True}):
        assert (await shared.http.post("/control/api/scenarios/double-click", json=wrong)).status_code == 422


async def test_the_load_setting_starts_and_stops_visitors(shared: Visitor) -> None:
    answer = await shared.http.put("/control/api/load", json={"visitors": 5})
    assert answer.json() == {"visitors": 5}
    async with asyncio.timeout(120):
        while not any(  # noqa: ASYNC110 - as above
            service["rate"] for service in (await shared.state())["services"]
        ):
            await asyncio.sleep(0.2)
    assert (await shared.http.put("/control/api/load", json={"visitors": 51})).status_code == 422
    assert (await shared.http.put("/control/api/load", json={"visitors": 0})).json() == {"visitors": 0}


def test_without_a_shop_the_command_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "double-click", "--url", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("shop: no shop answers at http://127.0.0.1:9\n")
    assert "python -m shop up" in said


def test_the_command_lists_the_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "--list"]) == 0
    assert "double-click" in capsys.readouterr().out


async def test_the_command_plays_a_scenario_and_prints_what_held(
    shared: Visitor, capsys: pytest.CaptureFixture[str]
) -> None:
    from shop.stage.scenarios.command import played as command

    code = await command(EACH_TIME, shared.settings.public, **FAST)
    said = capsys.readouterr().out
    await is_as_before(shared)
    if TOO_BUSY in said:
        assert code == 1
        return
    assert code == 0
    await shared.all_holds()
    assert "holds: most customers are charged twice" in said
    assert "DOES NOT HOLD" not in said
    assert "One purchase takes" in said
    assert "10% of each crowd" in said
    assert re.search(r"Customers charged twice +[1-9]\d* +0\n", said), "each ends with a table: without, with"
    assert "{" not in said
    assert "equals" not in said


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ('[[steps]]\nswitch = "limiter"\nheal = "psp"', "exactly one"),
        ("[[steps]]\nwait_s = 1\nfast = true", "does not go with"),
        ('[[steps]]\nexpect = "all is well"\nof = "broken"', "an expectation needs"),
        ("[[steps]]\nnothing = 1", "exactly one"),
    ],
)
def test_an_invalid_scenario_is_refused(steps: str, reason: str) -> None:
    with pytest.raises(InvalidScenario, match=reason):
        parse("bad", f'title = "t"\nsummary = "s"\ntakes_s = 60\n{steps}')


async def test_a_scenario_that_needs_replicas_says_so_and_changes_nothing(shared: Visitor) -> None:
    (name,) = set(names()) - set(ALONE)
    assert (await shared.http.post(f"/control/api/scenarios/{name}", json=FAST)).status_code == 202
    async with asyncio.timeout(120):
        while not (seen := await scenario(shared))["ended"]:  # noqa: ASYNC110 - the test watches from outside
            await asyncio.sleep(0.1)
    assert not seen["held"]
    assert "--procs --replicas 2" in seen["caption"]
    wanted = {"service": "catalog", "has_bug": False, "at_once": False}
    refusal = await shared.http.post("/control/api/rollout", json=wanted)
    assert (refusal.status_code, refusal.json()["type"]) == (409, "/problems/needs-replicas")
    unknown = await shared.http.post("/control/api/rollout", json={**wanted, "service": "psp"})
    assert unknown.status_code == 422


def test_the_bad_canary_is_told_with_without_and_again_with_the_rollout() -> None:
    steps = [step for step in load("bad-canary").steps if step.verb == "roll_out"]
    assert [step.details.get("at_once", False) for step in steps] == [False, True, False]
    assert [step.details.get("has_bug", False) for step in steps] == [True, True, False]


@pytest.mark.parametrize("name", ALONE)
def test_every_scenario_runs_with_without_and_again_with_the_defence(name: str) -> None:
    script = load(name)
    positions = [step.details["on"] for step in script.steps if step.verb == "switch"]
    assert positions == [True, False, True]
    harms = [step.details for step in script.steps if step.verb == "expect" and "harm" in step.details["of"]]
    assert [details.get("equals") for details in harms] == [0, None, 0]
    assert harms[1]["above"] in (0, "crowd.half")


def test_values_are_looked_up_by_path_and_judged() -> None:
    document = {"a": {"b": 3}, "c": "open"}
    assert look_up(document, "a.b") == 3
    assert look_up(document, "a.x.y") is None
    assert holds("open", {"equals": "open"})
    assert holds(3, {"above": 2, "below": 4})
    assert not holds(3, {"above": 3})
    assert not holds(None, {"above": 0})
    assert not holds(3, {"above": None}), "where the bound is not known"


def test_a_bound_may_be_what_happened() -> None:
    most = Step(verb="expect", object="c", details={"of": "harm", "above": "crowd.half", "below": 20, "within_s": 9})
    assert bounds(most, {"crowd": {"half": 6}}) == {"above": 6, "below": 20}
    state = Step(verb="expect", object="c", details={"of": "breaker.state", "equals": "open"})
    assert bounds(state, {}) == {"equals": "open"}


async def test_the_command_neither_waits_for_nor_disturbs_another_scenario(
    shared: Visitor, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two would put back what the other had thrown, and leave a defence off for good."""
    from shop.stage.scenarios.command import played as command

    begun = await shared.http.post("/control/api/scenarios/double-click", json={"pace": 1})
    assert begun.status_code == 202
    assert await command("black-friday", shared.settings.public, 50.0) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "shop: Double click is being played there; stop it on the page, or wait for its end\n"
    assert not (await scenario(shared))["ended"]
    assert (await shared.http.request("DELETE", "/control/api/scenarios")).status_code == 200


def script_of(*steps: str) -> Scenario:
    return parse("story", 'title = "t"\nsummary = "s"\ntakes_s = 60\n' + "\n".join(steps))


WRONG = '[[steps]]\nexpect = "pigs fly"\nof = "broken"\nequals = 77\nwithin_s = 0\nalways = true'
NEXT = '[[steps]]\nsay = "and so they flew"'


async def test_a_check_that_fails_ends_the_scenario_at_once(shared: Visitor) -> None:
    play = ScenarioRun(script_of(WRONG, NEXT), shared.settings.public, pace=50)
    assert not await play.run()
    seen = play.view()
    assert seen["step"] == 1
    assert "  DOES NOT HOLD: pigs fly" in seen["told"]
    assert "and so they flew" not in seen["told"]
    assert seen["told"][-1].startswith("Stopped: ")
    await is_as_before(shared)


def test_the_machine_is_measured_and_crowds_are_cut_to_it() -> None:
    quick, slow, stuck = (MachineSpeed(purchase_s, 0.01) for purchase_s in (0.05, 0.7, 9.0))
    assert (quick.share, slow.share) == (1.0, 0.5)
    assert "quick enough" in quick.in_words()
    assert "50%" in slow.in_words()
    assert stuck.is_too_busy
    assert "too busy for this story" in stuck.in_words()
    assert (
        MachineSpeed(float("inf"), 0.1)
        .in_words()
        .startswith("One purchase does not succeed on this machine: it is too")
    )
    assert not quick.explains(MachineSpeed(0.0, 0.02))
    assert quick.explains(MachineSpeed(0.0, 2.0))
    assert slow.explains(MachineSpeed(0.0, 0.01))


def test_a_machine_that_becomes_busy_while_a_scenario_runs_explains_what_does_not_hold() -> None:
    quick = MachineSpeed(0.05, 0.01)
    assert not quick.explains(MachineSpeed(0.0, 0.01, waiting=0.1))
    assert quick.explains(MachineSpeed(0.0, 0.01, waiting=0.4))


def test_the_time_a_thread_waits_for_a_processor_is_what_the_system_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = Processor.so_far(), Processor(3.0, 2.0)
    assert before.worked_s > 0
    assert Processor(4.5, 2.5).waiting_since(now) == 0.25
    assert now.waiting_since(now) == 0.0
    monkeypatch.setattr("shop.stage.scenarios.machine_speed._SCHEDSTAT", Path("/nowhere"))
    assert Processor.so_far() == Processor(0.0, 0.0)


async def test_the_machine_is_judged_by_a_typical_purchase(monkeypatch: pytest.MonkeyPatch) -> None:
    took_s = [5.0, 0.1, 9.0, 0.2]  # the first one is not counted

    async def buy(_crowd: Crowd, people: int, _sku: str, **_how: object) -> CrowdResult:
        return CrowdResult(people=people, bought=1, took_s=[took_s.pop(0)])

    async def look(_crowd: Crowd, _sku: str) -> float:
        return 0.01

    monkeypatch.setattr(Crowd, "buy", buy)
    monkeypatch.setattr("shop.stage.scenarios.machine_speed._look_s", look)
    assert await measured(Crowd("http://shop"), "SP-00045") == MachineSpeed(0.2, 0.01)
    assert took_s == []


async def test_customers_come_so_far_apart_that_the_shop_keeps_up(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[object] = []

    async def buy(_crowd: Crowd, people: int, _sku: str = "", **how: object) -> CrowdResult:
        came.append(how["apart_s"])
        return CrowdResult(people=people)

    monkeypatch.setattr(Crowd, "buy", buy)
    play = ScenarioRun(script_of(NEXT), "http://shop")
    async with httpx2.AsyncClient() as http:
        for purchase_s in (0.02, 0.5):
            play._machine = MachineSpeed(purchase_s, 0.01)
            for details in ({"apart_s": 0.25}, {}):
                await play.do_crowd(ShopClient(http), Step(verb="crowd", object=12, details=details))
    assert came == [0.25, 0.0, 0.5 * APART, 0.0], "those who come all at once still do"


async def test_the_table_has_the_figures_that_were_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(5, 99))

    async def state(_shop: ShopClient) -> dict[str, Any]:
        return {"harm": next(looks), "current": True}

    async def nothing(_shop: ShopClient, *_what: object) -> None:
        return None

    monkeypatch.setattr(ShopClient, "state", state)
    monkeypatch.setattr(ShopClient, "heal", nothing)
    record = '[[steps]]\nrecord = "Harm"\nof = "harm"\ncolumn = '
    play = ScenarioRun(
        script_of(
            '[[steps]]\nexpect = "harm"\nof = "harm"\nabove = 6\nfound = "{harm}"',
            f'{record}"without"\nsay = "{{harm}} in all"',
            '[[steps]]\nheal = "psp"',
            f'{record}"with"',
        ),
        "http://shop",
    )
    monkeypatch.setattr("shop.stage.scenarios.scenario_run._LOOKS_S", 0.0)
    async with httpx2.AsyncClient() as http:
        for step in play.scenario.steps:
            await play._take(ShopClient(http), step)
    assert play.view()["told"] == ["  holds: harm (7)", "7 in all"]
    assert play.view()["table"] == [{"row": "Harm", "without": "7", "with": "8"}]


async def test_a_scenario_does_not_begin_on_a_machine_that_is_too_busy(
    shared: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(*_whom: object, **_how: object) -> MachineSpeed:
        return MachineSpeed(9.0, 1.0)

    monkeypatch.setattr("shop.stage.scenarios.scenario_run.measured", slowly)
    play = ScenarioRun(load("payment-provider-dies"), shared.settings.public)
    assert not await play.run()
    assert play.view()["step"] == 0
    assert "too busy for this story" in "".join(play.view()["told"])


async def test_a_control_room_that_is_busy_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [503, 503, 429, 200]

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(answers.pop(0), json={"available": 4})

    monkeypatch.setattr("shop.stage.scenarios.shop_client._PAUSE_S", 0.0)
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://shop") as http:
        assert await ShopClient(http).free("SP-00001") == 4
        assert answers == []


def look(harm: int, *, current: bool) -> dict[str, Any]:
    return {"harm": harm, "current": current}


async def expected(monkeypatch: pytest.MonkeyPatch, *looks: dict[str, Any]) -> list[str]:
    """What a play says of one check, when the control room answers with these states."""
    left = list(looks)

    async def state(_shop: ShopClient) -> dict[str, Any]:
        return left.pop(0) if len(left) > 1 else left[0]

    async def quick(*_whom: object, **_how: object) -> MachineSpeed:
        return MachineSpeed(0.1, 0.01)

    monkeypatch.setattr(ShopClient, "state", state)
    monkeypatch.setattr("shop.stage.scenarios.scenario_run._LOOKS_S", 0.0)
    monkeypatch.setattr("shop.stage.scenarios.scenario_run.measured", quick)
    monkeypatch.setattr("shop.stage.scenarios.scenario_run.measured_again", quick)
    monkeypatch.setattr("shop.stage.scenarios.scenario_run._UNREAD_S", 0.05)
    check = parse(
        "t", 'title = "t"\nsummary = "s"\ntakes_s = 9\n[[steps]]\nexpect = "c"\nof = "harm"\nabove = 0\nwithin_s = 0'
    )
    play = ScenarioRun(check, "http://shop")
    async with httpx2.AsyncClient(base_url="http://shop") as http:
        try:
            await play.do_expect(ShopClient(http), check.steps[0])
        except TooBusy as reason:
            play._say(str(reason))
    told: list[str] = play.view()["told"]
    return told


async def test_a_check_waits_for_a_new_state_and_does_not_judge_an_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = look(0, current=False), look(1, current=True)
    assert await expected(monkeypatch, old, old, old, new) == ["  holds: c"]
    assert await expected(monkeypatch, look(1, current=False), look(0, current=True)) == [
        "  DOES NOT HOLD: c",
        "Stopped: this check has to hold, and the machine is not why it does not. Please report it.",
    ]
    told = await expected(monkeypatch, old)
    assert TOO_BUSY in told[-1]
    assert "records could not be read" in told[-1]


def test_texts_take_their_numbers_from_what_happened() -> None:
    known = {"crowd": {"people": 6, "typical_s": 0.214}}
    assert filled("{crowd.people} people, {crowd.typical_s} s", known) == "6 people, 0.21 s"


@pytest.mark.parametrize("name", names())
def test_texts_of_scenarios_contain_no_fixed_number_of_customers(name: str) -> None:
    numbers = re.compile(r"\b(twenty|hundred|twelve|\d{2,} (people|customers|orders|requests))\b", re.IGNORECASE)
    texts = [step.say for step in load(name).steps]
    assert [text for text in texts if numbers.search(text)] == []


@pytest.mark.parametrize(
    ("url", "is_own"),
    [("http://127.0.0.1:8000", True), ("http://localhost:8000", True), ("http://gateway:8080", False)],
)
def test_a_customer_has_a_loopback_address_only_where_the_shop_listens_on_one(url: str, *, is_own: bool) -> None:
    """From such an address no other pod can be reached: the visitors of a shop in pods would never come in."""
    assert (crowd.address(7, url) == "127.0.1.8") is (is_own and sys.platform == "linux")
