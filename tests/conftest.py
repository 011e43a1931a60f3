"""What every test may ask for: real servers."""

from __future__ import annotations

import gc
import itertools
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from sdpatterns.testing import servers
from tests.backends.everywhere import is_for_long_runs

pytest_plugins = ["sdpatterns.testing.plugin", "tests.measured"]

# Both limits are on the wall clock, and a busy machine breaks them without any fault of the code.
steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("each time", steady, max_examples=50)
settings.register_profile("long", steady, max_examples=1_000)  # `noxfile.py long` asks for it
settings.load_profile("each time")


# Collecting the tests makes millions of objects that stay. Looking through them again and again takes two fifths of
# its time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()


@pytest.fixture
def anyio_backend() -> str:
    """Plain asyncio; what runs elsewhere as well says so with a parameter of its own."""
    return "asyncio"


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey for this worker. Keys of other tests are in it: use your own."""
    with servers.valkey_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A Postgres database for this worker, `postgresql://…` without a driver."""
    with servers.postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def etcd_url() -> Iterator[str]:
    """An etcd server for this worker. Cells of other tests are in it: use your own prefix or keys."""
    with servers.etcd_server() as url:
        yield url


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """A NATS server for this worker. Cells of other tests are in it: use your own prefix or keys."""
    with servers.nats_server() as url:
        yield url


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[str]:
    """The first node of a three-node Valkey Cluster for this worker."""
    with servers.valkey_cluster() as url:
        yield url


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is marked `long`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A pattern's tests run on three backends of five."""
    for item in items:
        if is_for_long_runs(item.nodeid, item.callspec.params if hasattr(item, "callspec") else {}):
            item.add_marker(pytest.mark.long)


@pytest.fixture
def only_named_plugins(monkeypatch: pytest.MonkeyPatch, children_unmeasured: None) -> None:
    """A pytest that the test starts loads only the plugins it names, unmeasured: it starts in a tenth of the time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


LONG_ITEMS = 200
LONG_TEXT = 20_000


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Explain a failed `==` of two long values in a line.

    pytest's own diff compares them item by item. Under coverage that takes minutes for a few hundred
    items, and the time limit's signal is lost inside it.
    """
    if op != "==" or not (_is_long(left) or _is_long(right)):
        return None
    for kind, explain in ((Mapping, _keys), (AbstractSet, _members), (Sequence, _items)):
        if isinstance(left, kind) and isinstance(right, kind):
            return [f"{reprlib.repr(left)} == {reprlib.repr(right)}", explain(left, right)]
    return None


def _is_long(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return len(value) > LONG_TEXT
    return isinstance(value, Sequence | Mapping | AbstractSet) and len(value) > LONG_ITEMS


def _items(left: Sequence[Any], right: Sequence[Any]) -> str:
    pairs = enumerate(itertools.zip_longest(left, right, fillvalue=_NOTHING))
    differing = ((place, one, other) for place, (one, other) in pairs if one != other)
    # A list and a tuple of the same items differ, though no item of theirs does.
    place, one, other = next(differing, ("none", type(left), type(right)))
    shown = f"{reprlib.repr(one)} against {reprlib.repr(other)}"
    return f"{len(left)} items against {len(right)}; item {place} is the first that differs: {shown}"


def _keys(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> str:
    wrong = [key for key in {**left, **right} if left.get(key, _NOTHING) != right.get(key, _NOTHING)]
    return f"{len(wrong)} of {len(left)} keys differ, for example {reprlib.repr(wrong[0])}"


def _members(left: AbstractSet[Any], right: AbstractSet[Any]) -> str:
    wrong = [*(left - right), *(right - left)]
    return f"{len(wrong)} of {len(left)} items are in one of them only, for example {reprlib.repr(wrong[0])}"


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()
