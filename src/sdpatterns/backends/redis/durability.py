"""Whether the server keeps what it has answered, asked once for those whom a loss would harm."""

from __future__ import annotations

import dataclasses
import logging
import threading

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.sender import Sender
from sdpatterns.backends.redis.server import Server
from sdpatterns.core.notices import LISTENERS, Notice, tell

__all__ = ["Durability", "WeakSettingFound"]

_log = logging.getLogger("sdpatterns.backends.redis")

_LOSSES = {
    "appendonly no": "a restart of the server loses all that it has not saved",
    "appendfsync everysec": "a crash of the server's machine loses the last second of writes",
    "appendfsync no": "a crash of the server's machine loses the last half minute of writes",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WeakSettingFound(Notice):
    """A server may lose what it has answered, and a pattern relies on it. `name` is its URL, without secrets."""

    setting: str
    relied_on_by: str

    def labels(self) -> dict[str, str]:
        """The server and its setting."""
        return {"name": self.name, "setting": self.setting}


class Durability:
    """What is known of one server's settings: nothing, until a pattern relies on it and it answers.

    Costs: one `CONFIG GET`, once for each backend object; none where no pattern relies on it.
    """

    __slots__ = ("_once", "_server", "_who", "is_due")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._who = ""
        self._once = threading.Lock()  # taken by the first that asks, and never given back
        if not server.warns_of_loss:
            self._once.acquire()
        self.is_due = False
        """Whether the server is to be asked as soon as it answers; read by every step."""

    def relied_on_by(self, who: str) -> None:
        """Note that a loss would harm `who`; the first one is named in the warning."""
        if not self._once.locked():
            self._who = self._who or who
            self.is_due = True

    async def ask(self, sender: Sender) -> None:
        """Ask the server, and warn where it may lose something. One that does not tell is not asked again."""
        self.is_due = False
        if not self._once.acquire(blocking=False):
            return
        try:
            found = await sender.call(pack("CONFIG", "GET", "append*"), b"")
        except (Lost, ResponseError):
            return
        except BaseException:
            # Cancelled, with the step that it came after: the next one asks.
            self._once.release()
            self.is_due = True
            raise
        words = [word.decode(errors="replace") for word in found]
        weak = _weak_setting(dict(zip(words[::2], words[1::2], strict=True)))
        if weak is not None:
            self._warn(weak)

    def _warn(self, setting: str) -> None:
        shown, who = self._server.shown, self._who
        _log.warning(
            "%s relies on %s, which has %s: %s; set appendonly yes and appendfsync always,"
            " or say that it is meant: RedisBackend.from_url(..., warns_of_loss=False)",
            who, shown, setting, _LOSSES[setting],
        )  # fmt: skip
        if LISTENERS:
            tell(WeakSettingFound(name=shown, setting=setting, relied_on_by=who))


def _weak_setting(settings: dict[str, str]) -> str | None:
    if settings.get("appendonly") == "no":
        return "appendonly no"
    found = f"appendfsync {settings.get('appendfsync')}"
    return found if found in _LOSSES else None
