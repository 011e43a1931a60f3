"""`python -m shop up`: the whole shop on this machine."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from shop.failures import StartFailed


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shop", description="The reference shop of sdpatterns.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start all services in one process")
    up.add_argument("--port", type=_port, default=8000, help="the gateway's port (default: 8000)")
    up.add_argument(
        "--data-dir", type=Path, default=Path(".shop-data"), help="where the data lives (default: .shop-data)"
    )
    up.add_argument("--seed", type=int, default=1, help="decides the range of products at the first start (default: 1)")
    return parser.parse_args(argv)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 65535")
    return int(text)


async def _up(port: int, data_dir: Path, seed: int) -> None:
    from shop.launch import shop
    from shop.taking import told_to_stop

    with told_to_stop() as stop:
        async with shop(port=port, data_dir=data_dir, seed=seed) as place:
            print(f"The shop is open:   {place.address('gateway')}/")
            print(f"The control room:   {place.address('gateway')}/control")
            print(f"The data:           {data_dir}   (Ctrl-C closes the shop and keeps it)", flush=True)
            await stop.wait()
            print("\nClosing: finishing what is in flight ...", flush=True)
        print("Closed.", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    arguments = _arguments(argv)
    try:
        asyncio.run(_up(arguments.port, arguments.data_dir.resolve(), arguments.seed))
    except StartFailed as failure:
        print(f"shop: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was open
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
