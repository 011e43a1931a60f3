"""`python -m shop up`: the whole shop on this machine."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from shop.failures import StartFailed

REPLICAS_MAX = 16


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shop", description="The reference shop of sdpatterns.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start all services, in one process or many")
    up.add_argument("--port", type=_port, default=8000, help="the gateway's port (default: 8000)")
    up.add_argument(
        "--data-dir", type=Path, default=Path(".shop-data"), help="where the data lives (default: .shop-data)"
    )
    up.add_argument("--seed", type=int, default=1, help="decides the range of products at the first start (default: 1)")
    up.add_argument("--procs", action="store_true", help="a process for each service instead of one for all")
    up.add_argument(
        "--replicas", type=_replicas, default=1, help="with --procs: how many of each service that may have several"
    )
    up.add_argument("--fleet", action="store_true", help="with --procs: on Postgres and Valkey, from wheels")
    serve = commands.add_parser("serve", help="one of the processes that --procs starts; not for people")
    serve.add_argument("deployable")
    serve.add_argument("replica", type=int)
    serve.add_argument("line", type=int, help="the descriptor of the line to the supervisor")
    scenario = commands.add_parser("scenario", help="play a scenario on a shop that is running")
    scenario.add_argument("name", nargs="?", help="which one; --list shows them all")
    scenario.add_argument("--list", action="store_true", help="show the scenarios there are")
    scenario.add_argument("--url", default="http://127.0.0.1:8000", help="the shop (default: http://127.0.0.1:8000)")
    scenario.add_argument("--pace", type=_pace, default=1.0, help="how much faster than told (default: 1)")
    arguments = parser.parse_args(argv)
    if arguments.command == "scenario" and not (arguments.name or arguments.list):
        parser.error("which scenario? --list shows them all")
    if arguments.command == "up" and arguments.replicas > 1 and not arguments.procs:
        parser.error("--replicas needs --procs")
    if arguments.command == "up" and arguments.fleet and not arguments.procs:
        parser.error("--fleet needs --procs")
    return arguments


def _replicas(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= REPLICAS_MAX):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {REPLICAS_MAX}")
    return int(text)


def _pace(text: str) -> float:
    try:
        pace = float(text)
    except ValueError:
        pace = 0.0
    if not 0.1 <= pace <= 100:
        raise argparse.ArgumentTypeError("must be a number from 0.1 to 100")
    return pace


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 65535")
    return int(text)


async def _up(arguments: argparse.Namespace, data_dir: Path) -> int:
    from shop.taking import told_to_stop

    with told_to_stop() as stop:
        async with _opened(arguments, data_dir) as url:
            print(f"The shop is open:   {url}/")
            print(f"The control room:   {url}/control")
            print(f"The data:           {data_dir}   (Ctrl-C closes the shop and keeps it)", flush=True)
            await stop.wait()
            print("\nClosing: finishing what is in flight ...", flush=True)
        print("Closed.", flush=True)
    return 0


@asynccontextmanager
async def _opened(arguments: argparse.Namespace, data_dir: Path) -> AsyncIterator[str]:
    """The shop as it was asked for, at its URL."""
    if arguments.procs:
        from shop.supervisor import supervised

        async with supervised(
            port=arguments.port,
            data_dir=data_dir,
            seed=arguments.seed,
            replicas=arguments.replicas,
            with_fleet=arguments.fleet,
        ) as url:
            yield url
    else:
        from shop.launch import shop

        async with shop(port=arguments.port, data_dir=data_dir, seed=arguments.seed) as place:
            yield place.public


async def _scenario(arguments: argparse.Namespace) -> int:
    from shop.scenarios.command import listed, played

    return listed() if arguments.list else await played(arguments.name, arguments.url, arguments.pace)


def _command(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    if arguments.command == "serve":
        from shop.replica import serve

        return serve(arguments.line)
    if arguments.command == "scenario":
        return _scenario(arguments)
    return _up(arguments, arguments.data_dir.resolve())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    try:
        return asyncio.run(_command(_arguments(argv)))
    except StartFailed as failure:
        print(f"shop: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was open
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
