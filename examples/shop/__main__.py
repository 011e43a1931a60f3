"""`python -m shop up`: the whole shop on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shop.failures import StartFailed
from shop.stage.address import find, in_words, published
from shop.stage.arguments import parsed, program
from shop.stage.scenarios import scenario


class _Open(NamedTuple):
    """A shop that answers: its URL and all ports that it took."""

    url: str
    ports: list[int]


async def _up(arguments: argparse.Namespace, data_dir: Path) -> int:
    from shop.stage.stop_signals import stop_signal

    with stop_signal() as stop:
        async with _opened(arguments, data_dir) as found:
            with published(data_dir, found.url):
                _welcome(found, data_dir)
                await stop.wait()
            print("\nClosing: finishing what is in flight ...", flush=True)
        print("Closed.", flush=True)
    return 0


def _welcome(found: _Open, data_dir: Path) -> None:
    print(f"The shop is open:   {found.url}/")
    print(f"The control room:   {found.url}/control")
    print(f"Ports in use:       {in_words(found.ports)}")
    print(f"The data:           {data_dir}   (Ctrl-C closes the shop and keeps it)")
    print("\nBreak it and watch it recover, from another terminal:")
    where = "" if data_dir == Path(".shop-data").resolve() else f" --url {found.url}"
    for name in scenario.names():
        print(f"  {program()} scenario {name}{where}")
    sys.stdout.flush()


@asynccontextmanager
async def _opened(arguments: argparse.Namespace, data_dir: Path) -> AsyncIterator[_Open]:
    """The shop as it was asked for."""
    if arguments.procs:
        from shop.stage.supervisor import supervised

        async with supervised(
            port=arguments.port,
            data_dir=data_dir,
            seed=arguments.seed,
            replicas=arguments.replicas,
            with_fleet=arguments.fleet,
            visitors=arguments.visitors,
        ) as url:
            listed = json.loads((data_dir / "processes.json").read_text(encoding="utf-8"))["replicas"]
            yield _Open(url, _ports([url, *(at for one in listed for at in one["addresses"].values())]))
    else:
        from shop.launch import shop

        wanted = {"port": arguments.port, "seed": arguments.seed, "visitors": arguments.visitors}
        async with shop(data_dir=data_dir, **wanted) as settings:
            inner = [address for addresses in settings.addresses.values() for address in addresses]
            yield _Open(settings.public, _ports([settings.public, *inner]))


def _ports(urls: Sequence[str]) -> list[int]:
    return [port for url in urls if (port := urlsplit(url).port) is not None]


async def _scenario(arguments: argparse.Namespace) -> int:
    from shop.stage.scenarios.command import listed, played

    if arguments.list:
        return listed()
    return await played(arguments.name, _url(arguments), arguments.pace, arguments.size)


async def _game_day(arguments: argparse.Namespace) -> int:
    from shop.stage.gameday.command import held

    return await held(arguments.file, _url(arguments), arguments.records)


def _url(arguments: argparse.Namespace) -> str:
    """Where the shop is that a command is for."""
    here = None if arguments.port is None else f"http://127.0.0.1:{arguments.port}"
    return str(arguments.url or here or find(arguments.data_dir))


def _command(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    if arguments.command == "serve":
        from shop.stage.replica import serve

        return serve(arguments.line)
    if arguments.command == "health":
        from shop.stage.health import check_health

        return check_health(arguments.name or "", arguments.url or "")
    if arguments.command in ("pod", "schema"):
        return _in_pod(arguments)
    if arguments.command == "scenario":
        return _scenario(arguments)
    if arguments.command == "gameday":
        return _game_day(arguments)
    return _up(arguments, arguments.data_dir.resolve())


def _in_pod(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    try:
        from shop.stage import pod
    except ImportError as error:
        raise StartFailed(f"pods need the dependency group `pods`: {error}") from None

    return pod.make_schema() if arguments.command == "schema" else pod.serve_pod(arguments.name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    try:
        return asyncio.run(_command(parsed(argv)))
    except StartFailed as failure:
        print(f"shop: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was open
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
