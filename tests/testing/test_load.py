"""An open loop: requests start when they are due, and latencies count from then on."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest
import trio
import trio.lowlevel

from sdpatterns.testing.load import Criteria, LoadResult, LoadStage, Profile, ScalabilityLaw, in_flight, run_load
from sdpatterns.testing.loop import VirtualLoop


def run(main):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def test_a_steady_stage_gives_its_requests_at_equal_distances_without_a_seed():
    assert list(Profile(LoadStage(2, 2)).due_s(None)) == pytest.approx([0.5, 1.0, 1.5, 2.0])


def test_a_ramp_gives_as_many_requests_as_lie_below_it():
    due = list(Profile(LoadStage(10, 0, 20)).due_s(None))
    assert len(due) == 100
    assert due == sorted(due)
    assert sum(at <= 5 for at in due) == 25
    assert due[-1] == pytest.approx(10.0)


def test_stages_follow_each_other_and_a_stage_without_requests_is_a_pause():
    due = list(Profile(LoadStage(1, 10), LoadStage(5, 0), LoadStage(1, 10)).due_s(None))
    assert len(due) == 20
    assert not [at for at in due if 1.0 < at <= 6.0]


def test_a_seed_gives_a_poisson_process_that_can_be_repeated():
    profile = Profile(LoadStage(100, 50))
    due = list(profile.due_s(7))
    assert due == list(profile.due_s(7)) != list(profile.due_s(8))
    assert len(due) == pytest.approx(5_000, abs=4 * math.sqrt(5_000))
    gaps = [after - before for before, after in itertools.pairwise(due)]
    assert sum(gap > 1 / 50 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), abs=0.03)


def test_a_service_that_is_stuck_for_a_second_is_seen_in_the_latency_of_all_requests_that_came_meanwhile():
    """A closed loop would have seen one slow request."""

    async def stuck_until_ten(_number):
        await asyncio.sleep(max(0.001, 10.0 - asyncio.get_running_loop().time() + began_s))

    async def main():
        nonlocal began_s
        began_s = asyncio.get_running_loop().time()
        return await run_load(stuck_until_ten, Profile(LoadStage(20, 10)), seed=None)

    began_s = 0.0
    result = run(main())
    assert result.requests == 200
    assert result.latency_s(0.25) == pytest.approx(0.001, abs=1e-3)
    assert result.latency_s(0.75) == pytest.approx(5.0, abs=0.11)
    assert result.latency_s(1.0) == pytest.approx(9.9, abs=0.01)
    assert result.lag_max_s < 0.001


def test_what_waits_for_a_place_has_waited():
    """Requests of a second, one place, one due each half second: the last of ten waits for nine."""

    async def takes_a_second(_number):
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(1.0)
        running -= 1

    running = 0
    result = run(run_load(takes_a_second, Profile(LoadStage(5, 2)), seed=None, in_flight_max=1))
    assert (result.requests, result.failed) == (10, 0)
    assert result.latency_s(1.0) == pytest.approx(5.5, abs=0.01)
    assert result.lag_max_s == pytest.approx(4.5, abs=0.01)
    assert result.took_s == pytest.approx(10.5, abs=0.01)


def test_failures_are_counted_by_their_kind_and_do_not_end_the_run():
    async def fails_sometimes(number):
        await asyncio.sleep(0.1)
        if number % 4 == 0:
            raise ConnectionError
        if number % 4 == 1:
            raise TimeoutError

    result = run(run_load(fails_sometimes, Profile(LoadStage(10, 4)), seed=None))
    assert result.errors == {"ConnectionError": 10, "TimeoutError": 10}
    assert result.per_s == pytest.approx(2.0, abs=0.05)
    assert result.broken(Criteria(failed_max=0.5, p99_s=0.2)) == []
    assert result.broken(Criteria(failed_max=0.49, p50_s=0.01, p95_s=0.2)) == [
        "50.00% of the requests failed, at most 49.00% may (ConnectionError 10, TimeoutError 10)",
        "50% of the requests took up to 0.100 s, the limit is 0.01 s",
    ]


def test_it_runs_under_trio():
    async def request(_number):
        await trio.lowlevel.checkpoint()

    result = trio.run(run_load, request, Profile(LoadStage(0.1, 100)))
    assert result.requests == len(list(Profile(LoadStage(0.1, 100)).due_s()))


def test_cancelling_a_load_cancels_its_requests():
    async def main():
        load = asyncio.create_task(run_load(never_ends, Profile(LoadStage(1, 10)), seed=None))
        await asyncio.sleep(2.0)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load

    async def never_ends(number):
        try:
            await asyncio.sleep(math.inf)
        finally:
            ended.append(number)

    ended: list[int] = []
    run(main())
    assert sorted(ended) == list(range(10))


def test_a_result_without_requests_is_no_success():
    assert LoadResult().broken(Criteria()) == ["there were no requests"]
    assert LoadResult().latency_s(0.5) == 0.0


def test_the_law_is_found_again_from_points_that_lie_on_it():
    law = ScalabilityLaw(120.0, 0.05, 0.01)
    found = ScalabilityLaw.fit([(n, law.throughput(n)) for n in (1, 2, 3, 5, 8)])
    assert found == pytest.approx(law)
    assert found.peak == pytest.approx(math.sqrt(0.95 / 0.01))
    assert law.throughput(round(found.peak)) > max(law.throughput(5), law.throughput(20))


def test_replicas_that_do_not_disturb_each_other_have_no_peak():
    law = ScalabilityLaw.fit([(1, 100.0), (2, 200.0), (4, 400.0)])
    assert law == pytest.approx((100.0, 0.0, 0.0), abs=1e-9)
    assert ScalabilityLaw.fit([(1, 100.0), (2, 210.0), (4, 450.0)])[1:] == (0.0, 0.0)
    assert ScalabilityLaw(100.0, 0.1, 0.0).peak == math.inf


def test_pools_are_sized_by_littles_law():
    assert in_flight(200, 0.05) == pytest.approx(10.0)
    with pytest.raises(ValueError, match="0 or more"):
        in_flight(-1, 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LoadStage(0, 1), "for_s"),
        (lambda: LoadStage(1, -1), "per_s"),
        (lambda: LoadStage(1, 1, math.nan), "to_per_s"),
        (Profile, "needs a stage"),
        (lambda: Criteria(failed_max=2), "failed_max"),
        (lambda: Criteria(p99_s=0), "p99_s"),
        (lambda: ScalabilityLaw.fit([(1, 1.0), (2, 2.0)]), "three different numbers"),
        (lambda: ScalabilityLaw.fit([(1, 1.0), (2, 2.0), (3, 0.0)]), "throughput above 0"),
    ],
)
def test_bad_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
