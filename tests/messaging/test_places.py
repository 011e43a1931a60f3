"""How many places a consumer has, where that follows the lag."""

from __future__ import annotations

from sdpatterns.messaging.consumer.places import Places


def test_places_grow_while_claims_come_back_full_and_shrink_long_after() -> None:
    places, history = Places(4, 20), list[int]()
    places.claimed(0.0, is_full=True)
    for tenths in range(60):
        places.grow(tenths / 10)
        history.append(places.now)
    assert [history[tenths] for tenths in (0, 9, 10, 20, 30, 40, 59)] == [4, 4, 6, 9, 13, 19, 20]
    assert not places.may_grow
    for second in range(6, 100):
        places.claimed(float(second), is_full=False)
        places.grow(float(second))
        history.append(places.now)
    assert sorted(set(history[60:]), reverse=True) == [20, 14, 10, 7, 5, 4]
    assert history[60 + 9] == 20
    assert history[60 + 10] == 14


def test_a_short_burst_changes_nothing() -> None:
    places = Places(4, 20)
    for second in range(100):
        places.claimed(float(second), is_full=second % 2 == 0)
        places.grow(second + 0.9)
    assert places.now == 4
