"""Load tests with honest latencies: requests start when they are due, whether or not earlier ones have ended."""

from sdpatterns.testing.load.capacity import ScalabilityLaw, in_flight
from sdpatterns.testing.load.profile import LoadStage, Profile
from sdpatterns.testing.load.result import Criteria, LoadResult
from sdpatterns.testing.load.run import run_load

__all__ = ["Criteria", "LoadResult", "LoadStage", "Profile", "ScalabilityLaw", "in_flight", "run_load"]
