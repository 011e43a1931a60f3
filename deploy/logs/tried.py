"""`python -m deploy.logs.tried`: what a workflow needs to run the real Collector over lines as the shop writes them.

`lines` prints a pod's log as containerd keeps it, `configuration` the Collector's with a file in place of the stores,
and `judge` reads that file from the standard input and ends with 1 where a line came out otherwise than it should.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sdpatterns.core import context
from sdpatterns.observability.logs import JsonFormatter

TRACE = context.Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
DATASETS = {"debug": "shop.details", "info": "shop.events", "warning": "shop.problems", "error": "shop.problems"}
NO_JSON = "Traceback (most recent call last):"


def lines() -> Iterator[str]:
    """One line of each level, and one that is no JSON, each with containerd's time, stream and tag before it."""
    context.trace.set(TRACE)
    for level in DATASETS:
        extra = {"order_id": f"ord_{level}", "service": "ordering"}
        record = logging.makeLogRecord({"msg": "order paid", "levelname": level.upper(), "name": "shop", **extra})
        yield f"{datetime.now(UTC).isoformat()} stdout F {JsonFormatter().format(record)}"
    yield f"{datetime.now(UTC).isoformat()} stderr F {NO_JSON}"


def configuration() -> str:
    """The Collector's own file, with everything in it but the stores."""
    document = yaml.safe_load((Path(__file__).parent / "otel-collector.yaml").read_text(encoding="utf-8"))
    document["exporters"] = {"file": {"path": "/out/lines.json"}}
    document["service"]["pipelines"]["logs"]["exporters"] = ["file"]
    return yaml.safe_dump(document)


def faults(told: str) -> Iterator[str]:
    """What is wrong with the lines that came out, as OTLP's JSON."""
    found = dict(_records(told))
    if missing := {*DATASETS, ""} - found.keys():
        yield f"missing: {sorted(missing)} of {sorted(found)}"
    for level, (resource, record) in found.items():
        if not level:
            if record["body"] != {"stringValue": NO_JSON}:
                yield f"the line that is no JSON has the body {record['body']}"
            continue
        attributes = _plain(record["attributes"])
        wanted = {"data_stream.dataset": DATASETS[level], "order_id": f"ord_{level}"}
        if wanted.items() - attributes.items():
            yield f"{level}: {wanted} is not in {attributes}"
        if {"service.name": "ordering", "level": level}.items() - _plain(resource["attributes"]).items():
            yield f"{level}: service and level are not in {resource}"
        if (record["body"], record["traceId"]) != ({"stringValue": "order paid"}, TRACE.trace_id):
            yield f"{level}: body and trace are {record['body']}, {record.get('traceId')}"


def _records(told: str) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, Any]]]]:
    """Each line that came out with its resource, by the level of its order; the one without an order by nothing."""
    for line in told.splitlines():
        for of_resource in json.loads(line)["resourceLogs"]:
            for of_scope in of_resource["scopeLogs"]:
                for record in of_scope["logRecords"]:
                    order_id = _plain(record.get("attributes", [])).get("order_id", "")
                    yield order_id.removeprefix("ord_"), (of_resource["resource"], record)


def _plain(attributes: list[dict[str, Any]]) -> dict[str, str]:
    return {each["key"]: str(each["value"].get("stringValue", "")) for each in attributes}


def main(verb: str) -> int:
    """Print what is asked for; returns the exit code."""
    if verb == "judge":
        told = list(faults(sys.stdin.read()))
        print(*(told or ["every line came out as it should"]), sep="\n")
        return 1 if told else 0
    print(*lines(), sep="\n") if verb == "lines" else print(configuration())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
