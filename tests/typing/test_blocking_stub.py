"""`blocking.pyi` says what the async classes say."""

from tests.typing.blocking_stub import STUB, formatted, stub


def test_the_stub_is_what_the_sources_give():
    assert STUB.read_text() == formatted(stub()), "run: python tests/typing/blocking_stub.py --write"
