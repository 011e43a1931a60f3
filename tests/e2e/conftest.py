"""A browser and a shop for all of these tests; what depends on an untouched shop makes one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.shop.conftest import one_certificate, stocked
from tests.shop.running import running
from tests.shop.test_browser import chromium_or_else

from .browsing import open_browser
from .pages import Customer

__all__ = ["one_certificate", "stocked"]  # fixtures here as well


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-baselines", action="store_true", help="take tests/e2e/baselines anew")


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with open_browser(playwright, chromium_or_else()) as opened:
        yield opened


@contextmanager
def opened(tmp_path_factory: pytest.TempPathFactory, stocked: Callable[[Path], None]) -> Iterator[str]:
    """A shop that has been opened once before; gives its URL."""
    data_dir = tmp_path_factory.mktemp("shop") / "data"
    stocked(data_dir)
    with running(data_dir) as shop:
        yield shop.url


@pytest.fixture(scope="package")
def url(tmp_path_factory: pytest.TempPathFactory, stocked: Callable[[Path], None]) -> Iterator[str]:
    with opened(tmp_path_factory, stocked) as at:
        yield at


@pytest.fixture(scope="package")
def customer(url: str) -> Customer:
    return Customer.of(url)
