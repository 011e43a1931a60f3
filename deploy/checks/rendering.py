"""The chart as Helm renders it: objects in place of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml
from helm_python import Chart, lint

# In C where PyYAML has it: a tenth of the time.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CHART = Path(__file__).parents[1] / "helm" / "shop"
Object: TypeAlias = dict[str, Any]

TRYING: tuple[str, ...] = ()
PRODUCTION = ("values-production.yaml",)
TWO_REGIONS = ("values-production.yaml", "values-two-regions.yaml")
RELEASED: Mapping[str, Any] = {"image": {"digest": f"sha256:{'a' * 64}"}}
"""What the person, or the workflow, that installs a release adds to the files."""


ENVIRONMENTS = ("dev", "eu", "us")
"""The folders of `deploy/gitops/environments`."""


class Variant(NamedTuple):
    """One way to install the chart: files laid over its values, then more values."""

    files: tuple[str, ...] = TRYING
    more: Mapping[str, Any] = {}


_MESH = {"mesh": {"enabled": True, "retries": 1, "mirror": {"enabled": True}}}
_ALL_AT_ONCE = {
    "rollouts": {"enabled": True},
    "monitoring": {"serviceMonitor": True, "prometheusRule": True},
    "autoscaling": {"vertical": True},
}
VARIANTS = {
    "trying": Variant(),
    "trying, every switch on": Variant(TRYING, {**_MESH, **_ALL_AT_ONCE}),
    "production": Variant(PRODUCTION, RELEASED),
    "production, with Deployments": Variant(PRODUCTION, {**RELEASED, "rollouts": {"enabled": False}}),
    "production, in a mesh": Variant(PRODUCTION, {**RELEASED, **_MESH}),
    "two regions, the first": Variant(TWO_REGIONS, RELEASED),
    "two regions, the second": Variant(TWO_REGIONS, {**RELEASED, "region": {"name": "us"}}),
    **{
        f"environment {name}": Variant((*TWO_REGIONS, f"../../gitops/environments/{name}/values.yaml"))
        for name in ENVIRONMENTS
    },
}
"""Every file of values and every switch, in the ways that people combine them."""


def values(variant: Variant) -> dict[str, Any]:
    """What is laid over the chart's own values, as `helm --values` and `--set` do."""
    laid: dict[str, Any] = {}
    for name in variant.files:
        _lay(laid, yaml.safe_load((CHART / name).read_text(encoding="utf-8")))
    _lay(laid, variant.more)
    return laid


def _lay(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping):
            below = under.setdefault(key, {})
            _lay(below, value)
        else:
            under[key] = value


def manifests(variant: Variant, chart: Path = CHART) -> dict[str, str]:
    """The text of each template, by its name within the chart; what renders to nothing is left out."""
    with Chart.load(chart) as loaded:
        found = loaded.render(values(variant), name="shop", namespace="shop")
    return {name.partition("/")[2]: text for name, text in sorted(found.items()) if text.strip()}


def rendered(variant: Variant, chart: Path = CHART) -> list[Object]:
    """All objects that an installation makes."""
    texts = manifests(variant, chart).values()
    return [found for text in texts for found in yaml.load_all(text, _LOADER) if found]


def lint_messages(variant: Variant, chart: Path = CHART) -> list[str]:
    """What `helm lint --strict` finds wrong."""
    report = lint(chart, values(variant), strict=True, namespace="shop")
    told = [f"{each['path']}: {each['error']}" for each in report["messages"] if each["severity"] >= 2]
    return [*told, *(str(error) for error in report["errors"])]
