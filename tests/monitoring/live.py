"""Debian's Prometheus and Alertmanager on the committed configuration with its times made short, and our own pager."""

from __future__ import annotations

import http.client
import json
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml

from deploy.monitoring.generate import HERE, rules
from sdpatterns.testing.processes import ServerProcess, owned_directory, running
from tests.programs import needed

SHRINK = 75
"""Five minutes last four seconds, and an hour 48."""
EVERY = "1s"


class Told(NamedTuple):
    """One alert that a receiver was told of."""

    receiver: str
    alert: str
    severity: str
    status: str


class Watch(NamedTuple):
    """A Prometheus and an Alertmanager that watch a shop, and what receivers were told."""

    prometheus: str
    alertmanager: str
    told: queue.Queue[Told]

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """What a query gives now."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expr}, timeout=60).json()
        assert answer["status"] == "success", answer
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]


@contextmanager
def watching(targets: Sequence[str]) -> Iterator[Watch]:
    """Watch these addresses during the block."""
    with ExitStack() as stack:
        told, url = stack.enter_context(_pager())
        directory = stack.enter_context(owned_directory("sdpatterns-alertmanager-"))
        (directory / "alertmanager.yml").write_text(_routes(url), encoding="utf-8")
        alertmanager = _alertmanager(directory)
        stack.enter_context(running(alertmanager))
        directory = stack.enter_context(owned_directory("sdpatterns-prometheus-"))
        (directory / "rules.yml").write_text(rules(SHRINK), encoding="utf-8")
        (directory / "prometheus.yml").write_text(_scrapes(targets, alertmanager.port), encoding="utf-8")
        prometheus = _prometheus(directory, len(targets))
        stack.enter_context(running(prometheus))
        yield Watch(f"http://127.0.0.1:{prometheus.port}", f"http://127.0.0.1:{alertmanager.port}", told)


def _alertmanager(directory: Path) -> ServerProcess:
    words = [needed("prometheus-alertmanager", "prometheus-alertmanager"), "--config.file=alertmanager.yml"]
    words += ["--storage.path=data", "--cluster.listen-address=", "--log.level=error"]
    return ServerProcess(
        name="Alertmanager",
        directory=directory,
        command=lambda port: [*words, f"--web.listen-address=127.0.0.1:{port}"],
        ready=lambda process: _answer(process, "/-/ready") is not None,
    )


def _prometheus(directory: Path, targets: int) -> ServerProcess:
    words = [needed("prometheus", "prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    words += ["--log.level=error"]

    def knows_its_targets(process: ServerProcess) -> bool:
        # It says that it is ready up to five seconds before its discovery has told it what to scrape.
        answer = _answer(process, "/api/v1/targets?state=active")
        return answer is not None and len(json.loads(answer)["data"]["activeTargets"]) == targets

    return ServerProcess(
        name="Prometheus",
        directory=directory,
        command=lambda port: [*words, f"--web.listen-address=127.0.0.1:{port}"],
        ready=knows_its_targets,
    )


def _answer(process: ServerProcess, path: str) -> bytes | None:
    """What it answers, or None unless that is a 200."""
    asking = http.client.HTTPConnection("127.0.0.1", process.port, timeout=2)
    try:
        asking.request("GET", path)
        answer = asking.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        asking.close()


def _scrapes(targets: Sequence[str], alertmanager: int) -> str:
    config = yaml.safe_load((HERE / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY, "scrape_timeout": EVERY}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager}"]
    (job,) = config["scrape_configs"]
    job["static_configs"][0]["targets"] = [target.removeprefix("http://") for target in targets]
    return yaml.safe_dump(config)


def _routes(pager: str) -> str:
    config = yaml.safe_load((HERE / "alertmanager.yml").read_text(encoding="utf-8"))
    for route in (config["route"], *config["route"]["routes"]):
        route.update(group_wait="500ms", group_interval="1s")
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": f"{pager}/{receiver['name']}"}]
    return yaml.safe_dump(config)


@contextmanager
def _pager() -> Iterator[tuple[queue.Queue[Told], str]]:
    told: queue.Queue[Told] = queue.Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
            for alert in body["alerts"]:
                labels = alert["labels"]
                told.put(Told(self.path[1:], labels["alertname"], labels["severity"], alert["status"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the parent
            """Nothing, where the usual one writes a line for each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield told, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
