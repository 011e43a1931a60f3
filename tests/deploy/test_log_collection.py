"""The files that collect the shop's logs: each judge finds nothing wrong in them, and refuses what is broken."""

from __future__ import annotations

import copy
import json
import logging
import re
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
import yaml

from deploy.checks.log_collection import (
    FILES,
    LOGS,
    elasticsearch_faults,
    requests,
)
from deploy.logs import tried
from sdpatterns.observability.logs import JsonFormatter

BROKEN = [
    ("otel-collector.yaml", "parse_from: body", "parse_form: body", "'parse_form' was unexpected"),
    ("otel-collector.yaml", "exporters: [otlphttp/loki, ", "exporters: [otlphttp/lokki, ", "is used and not defined"),
    (
        "otel-collector.yaml",
        "extensions: [health_check, file_storage]",
        "extensions: [health_check]",
        "is no extension",
    ),
    ("otel-collector.yaml", "[memory_limiter, resource", "[resource, memory_limiter", "has to be the first"),
    ("otel-collector.yaml", "${env:ELASTICSEARCH_PASSWORD}", "secret", "does not match"),
    ("otel-collector.yaml", "limit_percentage: 80", "limit_percentage: 800", "800 is greater"),
    ("loki.yaml", 'level="debug"}', 'level="debug"', "is no selector"),
    ("loki.yaml", "period: 72h", "period: 3 days", '"3 days" does not match'),
    ("loki.yaml", "retention_enabled: true", "retention_enabled: false", "true was expected"),
    ("config.alloy", "stage.cri { }", "stage.docker_cri { }", "is unknown"),
    (
        "config.alloy",
        "forward_to = [loki.write.loki.receiver]",
        "forward_to = [loki.write.other.receiver]",
        "not defined",
    ),
    ("config.alloy", "  path_targets =", "  targets =", "path_targets is missing"),
    ("config.alloy", "stage.cri { }", "stage.cri {", "cannot be read"),
]


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_wrong_with_the_files_that_collect(name: str) -> None:
    assert FILES[name]((LOGS / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("name", "right", "wrong", "said"), BROKEN, ids=[each[2] for each in BROKEN])
def test_a_file_that_is_broken_is_refused(name: str, right: str, wrong: str, said: str) -> None:
    text = (LOGS / name).read_text(encoding="utf-8")
    assert right in text
    assert any(said in fault for fault in FILES[name](text.replace(right, wrong, 1)))


def test_elasticsearch_knows_every_field_of_policies_and_templates_and_refuses_others() -> None:
    sent = requests()
    typo, wrong, value = (copy.deepcopy(sent) for _ in range(3))
    typo["policy-shop-events"]["policy"]["phases"]["delet"] = {}
    wrong["template-shop-events"]["priority"] = "500"
    value["policy-shop-problems"]["policy"]["phases"]["warm"]["actions"]["forcemerge"] = {"segments": 1}
    assert elasticsearch_faults(sent) == []
    for broken, name in (
        (typo, "policy-shop-events"),
        (wrong, "template-shop-events"),
        (value, "policy-shop-problems"),
    ):
        faults = elasticsearch_faults(broken)
        assert faults
        assert {fault.partition(":")[0] for fault in faults} == {name}


def test_each_level_is_kept_for_as_long_in_loki_as_in_elasticsearch() -> None:
    levels = ["debug", "info", "warning", "error", "critical"]
    assert {level: loki_days(level) for level in levels} == {level: elasticsearch_days(level) for level in levels}
    assert loki_days("debug") < loki_days("info") < loki_days("warning") == loki_days("critical")


def loki_days(level: str) -> float:
    limits = yaml.safe_load((LOGS / "loki.yaml").read_text(encoding="utf-8"))["limits_config"]
    found = [(0, limits["retention_period"])]
    for each in limits["retention_stream"]:
        matched = re.search(r'level=~?"([a-z|]+)"', each["selector"])
        assert matched
        if level in matched[1].split("|"):
            found.append((each["priority"], each["period"]))
    return int(max(found)[1].removesuffix("h")) / 24


def elasticsearch_days(level: str) -> float:
    """As the Collector's statements route it, and the policy of its data stream says."""
    statements = yaml.safe_load((LOGS / "otel-collector.yaml").read_text(encoding="utf-8"))["processors"]
    number = logging.getLevelName(level.upper())
    conditions: dict[str, Callable[[], bool]] = {
        "": lambda: True,
        'log.attributes["level"] == "debug"': lambda: level == "debug",
        "log.severity_number >= SEVERITY_NUMBER_WARN": lambda: bool(number >= logging.WARNING),
    }
    dataset = ""
    for statement in statements["transform/retention"]["log_statements"]:
        action, _, condition = statement.partition(" where ")
        if "data_stream.dataset" in action and conditions[condition]():
            dataset = action.split('"')[3]
    sent = requests()
    (template,) = (one for one in sent.values() if one.get("index_patterns") == [f"logs-{dataset}.otel-*"])
    policy = sent[f"policy-{template['template']['settings']['index']['lifecycle']['name']}"]
    return float(policy["policy"]["phases"]["delete"]["min_age"].removesuffix("d"))


def test_the_fields_that_are_read_are_those_of_the_shops_lines() -> None:
    """`tests/shop/test_observability.py` finds them in the lines of an order; here is what the files call them."""
    from shop.stage.log_lines import KEPT, KeepingFormatter, serving

    record = logging.makeLogRecord({"name": "shop", "msg": "order paid", "levelname": "INFO", "order_id": "ord_1"})
    with serving("ordering"):
        line = json.loads(KeepingFormatter().format(record))
    KEPT.pop()
    carried = {*line, "correlation_id", "trace_id", "span_id"}  # the last three only within a call
    alloy = (LOGS / "config.alloy").read_text(encoding="utf-8")
    wanted = set(re.findall(r"(?m)^      (\w+) +=", alloy.partition("expressions = {")[2].partition("}")[0]))
    collector = (LOGS / "otel-collector.yaml").read_text(encoding="utf-8").partition("processors:")[0]
    wanted |= set(re.findall(r"(?:parse_from|from|field): attributes\.(\w+)", collector))
    assert wanted >= {"time", "level", "service", "order_id", "trace_id"}
    assert wanted <= carried


def test_the_collectors_layout_of_time_is_that_of_the_lines() -> None:
    time = json.loads(JsonFormatter().format(logging.makeLogRecord({"msg": "x"})))["time"]
    collector = yaml.safe_load((LOGS / "otel-collector.yaml").read_text(encoding="utf-8"))
    layout = collector["receivers"]["filelog"]["operators"][1]["timestamp"]["layout"]
    assert re.sub(r"\d", "0", time) == re.sub(r"\d", "0", layout.replace("Z07:00", "+00:00"))


def came_out(line: str) -> dict[str, Any]:
    """A line as the Collector would give it, in OTLP's JSON."""

    def attributes(**values: str) -> list[dict[str, Any]]:
        return [{"key": key.replace("__", "."), "value": {"stringValue": value}} for key, value in values.items()]

    framed = line.split(" ", 3)[3]
    if not framed.startswith("{"):
        return {"resource": {"attributes": []}, "scopeLogs": [{"logRecords": [{"body": {"stringValue": framed}}]}]}
    said = json.loads(framed)
    own = attributes(data_stream__dataset=tried.DATASETS[said["level"]], order_id=said["order_id"])
    record = {"body": {"stringValue": said["message"]}, "traceId": said["trace_id"], "attributes": own}
    resource = {"attributes": attributes(service__name=said["service"], level=said["level"])}
    return {"resource": resource, "scopeLogs": [{"logRecords": [record]}]}


def test_what_the_workflow_judges_the_collector_by_finds_a_lost_line_and_a_wrong_data_stream() -> None:
    out = copy_context().run(lambda: [json.dumps({"resourceLogs": [came_out(line)]}) for line in tried.lines()])
    assert list(tried.faults("\n".join(out))) == []
    assert list(tried.faults("\n".join(out[1:]))) != []
    assert list(tried.faults("\n".join(out).replace("shop.details", "shop.events"))) != []
    configuration = yaml.safe_load(tried.configuration())
    assert configuration["service"]["pipelines"]["logs"]["exporters"] == ["file"]
