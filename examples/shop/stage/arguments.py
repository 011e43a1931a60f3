"""The command line: `up` starts the shop, `scenario` plays a scenario on it, `pod` runs a part of it in a pod."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from shop.settings import DEPLOYABLES, VISITORS_MAX
from shop.stage.scenarios.scenario import load, names

REPLICAS_MAX = 16
DATA_DIR = Path(".shop-data")


def program() -> str:
    """How this program was called, for hints that can be copied."""
    return os.environ.get("SHOP_COMMAND") or "python -m shop"


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command with its options; argparse itself answers `--help` and refuses what it does not know."""
    parser = argparse.ArgumentParser(
        prog=program(),
        description="The reference shop of sdpatterns: an online shop that you can break on purpose.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{up,scenario,gameday,pod,schema,health}")
    _add_up(commands.add_parser("up", help="start the shop"))
    _add_scenario(
        commands.add_parser(
            "scenario",
            help="play a scenario on the shop that is running",
            formatter_class=argparse.RawTextHelpFormatter,
        )
    )
    _add_game_day(commands.add_parser("gameday", help="hold a game day on the shop that is running"))
    pod = commands.add_parser("pod", help="run one deployable in a pod, told by variables SHOP_…")
    pod.add_argument("name", choices=DEPLOYABLES)
    commands.add_parser("schema", help="make the databases of the pods and end")
    health = commands.add_parser("health", help="ask whether the pod on this machine is alive")
    asked = health.add_mutually_exclusive_group()
    asked.add_argument("name", nargs="?", choices=DEPLOYABLES, help="default: whichever listens here")
    asked.add_argument("--url", help="ask the shop at this address")
    serve = commands.add_parser("serve")  # what the supervisor starts; users never type it
    serve.add_argument("deployable")
    serve.add_argument("replica", type=int)
    serve.add_argument("line", type=int, help="the descriptor of the line to the supervisor")
    arguments = parser.parse_args(argv)
    if arguments.command == "scenario" and not (arguments.name or arguments.list):
        parser.error(f"name a scenario: {', '.join(names())}")
    if arguments.command == "up" and not arguments.procs and (arguments.replicas > 1 or arguments.fleet):
        parser.error("--replicas needs --procs" if arguments.replicas > 1 else "--fleet needs --procs")
    return arguments


def _epilog() -> str:
    lines = [f"  {name:24}{load(name).title}" for name in names()]
    options = f"options of a command:\n  {program()} up --help\n  {program()} scenario --help"
    return "\n".join(["scenarios:", *lines, "", options])


def _add_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("--port", type=_port, default=8000, help="the shop's port (default: 8000); it also takes nine more")
    up.add_argument("--data-dir", type=Path, default=DATA_DIR, help=f"where the data lives (default: {DATA_DIR})")
    up.add_argument("--seed", type=int, default=1, help="decides the range of products at the first start (default: 1)")
    up.add_argument(
        "--visitors", type=_visitors, default=2, help="the number of simulated visitors; 0 for none (default: 2)"
    )
    up.add_argument("--procs", action="store_true", help="a process for each service instead of one for all")
    up.add_argument(
        "--replicas", type=_replicas, default=1, help="with --procs: how many of each service that may have several"
    )
    up.add_argument("--fleet", action="store_true", help="with --procs: on Postgres and Valkey, which pip installs")


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="\n".join(names()))
    parser.add_argument("--list", action="store_true", help="show the scenarios and end")
    _add_where(parser)
    parser.add_argument("--pace", type=_pace, default=1.0, help="divides the pauses by this number (default: 1)")
    parser.add_argument("--size", type=_size, default=1.0, help="the part of each crowd that comes (default: 1)")


def _add_game_day(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the experiment: deploy/chaos/ has some")
    parser.add_argument("--records", type=Path, metavar="DIR", help="write the record there, as JSON and Markdown")
    _add_where(parser)


def _add_where(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="the address of the shop (default: the one that runs on --data-dir)")
    where.add_argument("--port", type=_port, help="the shop at this port of this machine")
    parser.add_argument(
        "--data-dir", type=Path, default=DATA_DIR, help=f"find the shop that runs on this data (default: {DATA_DIR})"
    )


def _visitors(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= VISITORS_MAX):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {VISITORS_MAX}")
    return int(text)


def _replicas(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= REPLICAS_MAX):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {REPLICAS_MAX}")
    return int(text)


def _pace(text: str) -> float:
    return _number(text, 100)


def _size(text: str) -> float:
    return _number(text, 1)


def _number(text: str, most: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.1 <= number <= most:
        raise argparse.ArgumentTypeError(f"must be a number from 0.1 to {most}")
    return number


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 65535")
    return int(text)
