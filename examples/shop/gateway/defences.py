"""The defences of the gateway against a client that asks too much, and against slow reviews."""

from __future__ import annotations

from sdpatterns import Bulkhead, DeadlineExceeded, Fallback, Pipeline, RateLimiter, Timeout, per_hour, per_second
from sdpatterns.ports.states import StateStore
from shop.problems import Problem

RATE = per_second(300, burst=600)
SEARCHES = per_second(20, burst=40)  # of one client; a search costs the catalog more than other requests
REVIEWS_EACH = per_hour(20, burst=10)  # of one client, because all share the room on a page
STREAMS_EACH = 8  # of one client, because all share the streams
REVIEWS_S = 0.25


def request_limit(store: StateStore | None) -> RateLimiter:
    """Each client may send so many requests; without a store they are counted in this process."""
    return RateLimiter("api", RATE, store=store)


def search_limit(store: StateStore | None) -> RateLimiter:
    """Each client may search so often."""
    return RateLimiter("searches", SEARCHES, store=store)


def review_limit(store: StateStore | None) -> RateLimiter:
    """Each client may write so many reviews."""
    return RateLimiter("reviews-written", REVIEWS_EACH, store=store)


def stream_limit() -> Bulkhead:
    """Each client may hold a few streams open, so that others get theirs."""
    return Bulkhead("streams", concurrent_max=STREAMS_EACH)


def without_reviews() -> Pipeline:
    """A page does not wait longer for the reviews: where they are away or slow, it says so."""
    return Pipeline(Fallback(None, on=(Problem, DeadlineExceeded)), Timeout(REVIEWS_S), name="reviews")
