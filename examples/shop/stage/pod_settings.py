"""The settings of a pod, from the environment: variables with the prefix `SHOP_`."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shop.failures import StartFailed
from shop.settings import ANY_HOST, CALLS, DEPLOYABLES, PORTS, PUBLIC, PUBLIC_PORT, VISITORS_MAX, FleetServers, Settings
from shop.stage.dns_addresses import DnsAddresses
from shop.stage.fleet_servers import DATABASES, WAIT_S

T = TypeVar("T", bound=BaseSettings)


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    return text.rstrip("/")


def _address(text: str) -> str:
    if ipaddress.ip_address(text).version != 4:
        raise ValueError("must be an IPv4 address")
    return text


def _server_url(*schemes: str) -> AfterValidator:
    def checked(secret: SecretStr) -> SecretStr:
        parts = urlsplit(secret.get_secret_value())
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL that begins with {schemes[0]}://")
        return secret

    return AfterValidator(checked)


class ServerSettings(BaseSettings):
    """Where the servers of all pods are. Each URL may have a password, so it comes from a Secret."""

    model_config = SettingsConfigDict(env_prefix="SHOP_", hide_input_in_errors=True)

    postgres_url: Annotated[SecretStr, _server_url("postgresql", "postgresql+asyncpg")] | None = None
    """Without the name of a database."""
    valkey_url: Annotated[SecretStr, _server_url("redis", "rediss")] | None = None

    start_wait_s: Annotated[float, Field(ge=0, le=600)] = WAIT_S
    """How long a start waits for Postgres and its databases before it fails."""

    def fleet(self, *needed: str) -> FleetServers:
        """The servers as services are told of them; StartFailed names one that is needed and not told."""
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise _refused((name, "field required") for name in missing)
        return FleetServers(postgres=_asyncpg(_shown(self.postgres_url)), valkey=_shown(self.valkey_url))


def _shown(url: SecretStr | None) -> str:
    return "" if url is None else url.get_secret_value().rstrip("/")


def _asyncpg(url: str) -> str:
    return urlsplit(url)._replace(scheme="postgresql+asyncpg").geturl() if url else ""


class PodSettings(ServerSettings):
    """All settings of a pod."""

    host: Annotated[str, AfterValidator(_address)] = ANY_HOST
    """The address to listen on."""
    public_url: Annotated[str, AfterValidator(_http_url)]
    """The URL that visitors know."""
    seed: int = 1
    visitors: Annotated[int, Field(ge=0, le=VISITORS_MAX)] = 0
    drain_delay_s: Annotated[float, Field(ge=0, le=60)] = 3.0
    """How long a pod that is told to end goes on to answer, so that its callers learn that it is leaving."""
    version: str = "unknown"

    def settings(self, name: str, addresses: DnsAddresses) -> Settings:
        """The world as the contexts of a deployable are told of it."""
        own_host = socket.gethostbyname(socket.gethostname()) if self.host == ANY_HOST else self.host
        return Settings(
            data_dir=Path(),  # all data is on the servers
            seed=self.seed,
            public=self.public_url,
            entrance=f"http://{PUBLIC}:{PUBLIC_PORT}",
            addresses=addresses,
            own={context: f"http://{own_host}:{PORTS[context]}" for context in DEPLOYABLES[name]},
            replica=socket.gethostname(),
            fleet=self.fleet(*needed_by(name)),
            visitors=self.visitors,
        )


def called_by(name: str) -> set[str]:
    """The deployables whose contexts a deployable may call, and itself."""
    called = {context for caller in DEPLOYABLES[name] for context in CALLS.get(caller, ())}
    return {name, *(other for other, contexts in DEPLOYABLES.items() if called & set(contexts))}


def needed_by(name: str) -> list[str]:
    """The settings of servers without which a deployable cannot work. A pod is told of no other server."""
    with_data = [] if set(DEPLOYABLES[name]).isdisjoint(DATABASES) else ["postgres_url"]
    return [*with_data, *(["valkey_url"] if name == PUBLIC else [])]


def from_environment(kind: type[T]) -> T:
    """Settings of a kind; StartFailed names each variable that is missing or wrong, and none of the values."""
    try:
        return kind()
    except ValidationError as error:
        raise _refused((str(found["loc"][0]), found["msg"].lower()) for found in error.errors()) from None


def _refused(wrong: Iterable[tuple[str, str]]) -> StartFailed:
    named = "; ".join(f"SHOP_{name.upper()}: {why}" for name, why in wrong)
    return StartFailed(f"cannot start with these settings: {named}")
