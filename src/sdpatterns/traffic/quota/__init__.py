"""Quotas: how much a key may use in a day, a week, a month or a year of the calendar."""

from sdpatterns.core.outage import OnOutage
from sdpatterns.traffic.quota.answer import QuotaDecision, Standing
from sdpatterns.traffic.quota.config import Allowance, Period, Plans, daily, monthly, weekly, yearly
from sdpatterns.traffic.quota.guard import Quota
from sdpatterns.traffic.quota.notices import QuotaBypassed, QuotaReached, QuotaRefused

__all__ = [
    "Allowance",
    "OnOutage",
    "Period",
    "Plans",
    "Quota",
    "QuotaBypassed",
    "QuotaDecision",
    "QuotaReached",
    "QuotaRefused",
    "Standing",
    "daily",
    "monthly",
    "weekly",
    "yearly",
]
