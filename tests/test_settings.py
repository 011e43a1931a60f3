"""The settings of the how-to page, read from the environment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sdpatterns import Rate, per_hour, per_minute
from sdpatterns.traffic.ratelimit import OnOutage


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    api_rate: Rate = per_minute(100)
    login_rates: list[Rate] = [per_minute(5)]
    by_scope: dict[str, Rate] = {}
    on_outage: OnOutage = "allow"


def test_rates_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().api_rate == per_minute(100)
    monkeypatch.setenv("SHOP_API_RATE", "200/minute burst 50")
    monkeypatch.setenv("SHOP_LOGIN_RATES", '["5/minute", "20/hour"]')
    monkeypatch.setenv("SHOP_BY_SCOPE", '{"ip": "9/minute"}')
    monkeypatch.setenv("SHOP_ON_OUTAGE", "refuse")
    settings = Settings()
    assert settings.api_rate == per_minute(200, burst=50)
    assert settings.login_rates == [per_minute(5), per_hour(20)]
    assert settings.by_scope == {"ip": per_minute(9)}
    assert settings.on_outage == "refuse"


def test_a_wrong_rate_stops_the_program_with_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_RATE", "200/fortnight")
    with pytest.raises(ValidationError, match=r"api_rate\s+Value error, a rate is written like '5/s'"):
        Settings()
