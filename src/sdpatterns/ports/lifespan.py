"""A backend that an application opens when it starts, and closes when it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from sdpatterns.core.undivided import Undivided

__all__ = ["Lifespan"]


class _Opened(AbstractAsyncContextManager[Any], Protocol):
    async def create(self) -> None:
        """See `Backend`."""


class Lifespan(Undivided):
    """Gives a backend the lifespan that ASGI frameworks ask for: `FastAPI(lifespan=backend.lifespan)`."""

    __slots__ = ()

    _elsewhere = "build it there, with the same URL"

    @asynccontextmanager
    async def lifespan(self: _Opened, app: object = None, /) -> AsyncIterator[None]:
        """Open the backend and check its server while an application starts; close it when the application ends.

        ```python
        app = FastAPI(lifespan=backend.lifespan)                 # and Starlette
        app = Litestar(lifespan=[backend.lifespan])
        ```

        **May fail** as `create` does: an application whose server does not answer does not start. In a lifespan
        of your own, write `async with backend.lifespan():`.
        """
        async with self:
            await self.create()
            yield
