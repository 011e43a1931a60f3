"""What an operator of pods that stay needs: the addresses that the runbooks use, and Prometheus on a fast clock."""

from __future__ import annotations

from pathlib import Path

import yaml

from deploy.monitoring.generate import HERE as MONITORING
from deploy.monitoring.generate import rules
from deploy.play.cluster import Cluster
from shop.settings import DEPLOYABLES, PORTS, PUBLIC, PUBLIC_PORT

PLACE = Path(".cache", "pods")
SHRINK = 60.0
"""An hour of the rules lasts a minute."""
_NAMED = ("gateway", "ordering", "payments", "fulfilment")


def exports(cluster: Cluster) -> str:
    """The variables of the runbooks, for a shell."""
    urls = {name: cluster.addresses(name, PORTS[name])[0] for name in _NAMED}
    told = {"SHOP": cluster.addresses(PUBLIC, PUBLIC_PORT)[0], **{name.upper(): url for name, url in urls.items()}}
    told |= {"PROMETHEUS": "http://127.0.0.1:9090", "ALERTMANAGER": "http://127.0.0.1:9093"}
    return "\n".join(f"export {name}={url}" for name, url in told.items())


def write_watch(cluster: Cluster, place: Path) -> Path:
    """The configuration of a Prometheus that watches these pods, and its rules beside it; gives its path."""
    told = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    told["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    urls = [
        url for name, contexts in DEPLOYABLES.items() for one in contexts for url in cluster.addresses(name, PORTS[one])
    ]
    (scraped,) = told["scrape_configs"]
    (group,) = scraped["static_configs"]
    group["targets"] = [url.removeprefix("http://") for url in urls]
    place.mkdir(parents=True, exist_ok=True)
    (place / "rules.yml").write_text(rules(SHRINK), encoding="utf-8")
    (place / "prometheus.yml").write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    return place / "prometheus.yml"


def told(cluster: Cluster, place: Path = PLACE) -> str:
    """What is printed once the pods are ready."""
    config = write_watch(cluster, place)
    return f"""
The pods stay until Ctrl-C; press it once, their end takes a minute. In each other terminal, in this directory:

{exports(cluster)}

Prometheus, in a terminal of its own:

prometheus --config.file={config} \\
  --storage.tsdb.path={place / "prometheus"} --web.listen-address=127.0.0.1:9090

Alertmanager, in another one:

prometheus-alertmanager --config.file=deploy/monitoring/alertmanager.yml \\
  --storage.path={place / "alertmanager"} --cluster.listen-address= \\
  --web.listen-address=127.0.0.1:9093
"""
