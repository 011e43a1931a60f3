"""What the undo of sagas is there for: a saga whose undos do nothing."""

from __future__ import annotations


class NoUndos:
    """Leaves behind what the steps of an order have done that failed: the lines, the pieces, and the charge."""

    async def give_back(self, order_id: str) -> None:
        """The cart stays empty."""

    async def release(self, order_id: str) -> None:
        """The pieces stay held until their time is over."""

    async def repay(self, order_id: str) -> None:
        """The customer has paid."""
