"""The configuration of one Envoy in front of the replicas of a service, from the chart's `mesh` values.

Istio turns the chart's DestinationRule and VirtualService into the same clusters and routes. What is proved of this
Envoy holds for those in a mesh, as far as the settings are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]
_TYPES = "type.googleapis.com/envoy.extensions"
_HTTP = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPES}.filters.http.router.v3.Router"
_TLS = f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"


class Identity(NamedTuple):
    """Who this Envoy is, and whom it trusts: files in PEM."""

    certificate: Path
    key: Path
    authority: Path


def bootstrap(
    port: int, admin: int, replicas: Sequence[int], mesh: Mapping[str, Any], identity: Identity | None
) -> Json:
    """A configuration that listens on `port` and asks `replicas`, all on loopback.

    With an `identity` it takes only clients whose certificate its authority has signed (mutual TLS).
    """
    chain: Json = {"filters": [{"name": "http", "typed_config": _connections(mesh)}]}
    if identity is not None:
        chain["transport_socket"] = {"name": "tls", "typed_config": _mutual_tls(identity)}
    return {
        "admin": {"address": _at(admin)},
        "static_resources": {
            "listeners": [{"name": "service", "address": _at(port), "filter_chains": [chain]}],
            "clusters": [_cluster(replicas, mesh)],
        },
    }


def _at(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _connections(mesh: Mapping[str, Any]) -> Json:
    """The server's side: all paths go to the service, within the time, and again as often as the chart says."""
    route: Json = {"cluster": "service", "timeout": f"{mesh['timeoutSeconds']}s"}
    if mesh["retries"]:
        # Each attempt goes to another replica than the last one, where there is one.
        other = f"{_TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate"
        route["retry_policy"] = {
            "retry_on": "5xx",
            "num_retries": mesh["retries"],
            "retry_host_predicate": [{"name": "other", "typed_config": {"@type": other}}],
            "host_selection_retry_max_attempts": 3,
        }
    hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
    return {
        "@type": _HTTP,
        "stat_prefix": "service",
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }


def _mutual_tls(identity: Identity) -> Json:
    own = {
        "certificate_chain": {"filename": str(identity.certificate)},
        "private_key": {"filename": str(identity.key)},
    }
    trusted = {"trusted_ca": {"filename": str(identity.authority)}}
    return {
        "@type": _TLS,
        "require_client_certificate": True,
        "common_tls_context": {"tls_certificates": [own], "validation_context": trusted},
    }


def _cluster(replicas: Sequence[int], mesh: Mapping[str, Any]) -> Json:
    """The clients' side: who is asked, who is left out, and how much may be under way."""
    ejection = mesh["ejection"]
    return {
        "name": "service",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "service",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _at(port)}} for port in replicas]}],
        },
        "outlier_detection": {
            "consecutive_5xx": ejection["consecutiveErrors"],
            "interval": f"{ejection['intervalSeconds']}s",
            "base_ejection_time": f"{ejection['baseSeconds']}s",
            "max_ejection_percent": ejection["maxPercent"],
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": mesh["connectionsMax"],
                    "max_pending_requests": mesh["pendingMax"],
                    "max_retries": 3,
                }
            ]
        },
    }
