"""podman, asked by its command line: pods, secrets, and a network on which pods find each other by name."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

NETWORK = "shopnet"
LABEL = "shop.sdpatterns/played"
PROGRAMS = ("podman", "runc", "catatonit", "iptables")
HELPERS = tuple(Path("/usr/lib/podman", name) for name in ("netavark", "aardvark-dns"))
_PARENT = "libpod_parent"
WEIGHTS = (  # of one process, and the highest one, in both versions of control groups
    (Path("/sys/fs/cgroup/cpu", _PARENT, "cpu.shares"), 1024, 262_144),
    (Path("/sys/fs/cgroup", _PARENT, "cpu.weight"), 100, 10_000),
)
# podman's own limits may be higher than those of the container that this runs in, and it then starts nothing.
_CONFIGURATION = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
"""


class PodmanFailed(Exception):
    """podman did not do as it was told; in its own words."""


def why_not() -> str:
    """Why pods cannot be played here; empty where they can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    missing += [path.name for path in HELPERS if not path.exists()]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "podman is used as root here, because the pods' addresses are asked from this machine"
    tried = subprocess.run(["podman", "info"], check=False, capture_output=True, text=True)
    return tried.stderr.strip().rpartition("\n")[2] if tried.returncode else ""


def configured(place: Path) -> None:
    """Make podman read settings of ours, unless others were told; for this process and its children."""
    if "CONTAINERS_CONF" not in os.environ:
        path = place / "containers.conf"
        path.write_text(_CONFIGURATION)
        os.environ["CONTAINERS_CONF"] = str(path)


async def podman(*words: str, stdin: str = "") -> str:
    """The output of a command of podman; PodmanFailed where it fails. Ctrl-C does not reach it, but this process."""
    process = await asyncio.create_subprocess_exec(
        "podman",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    out, err = await process.communicate(stdin.encode())
    if process.returncode:
        last = err.decode().strip().rpartition("\n")[2]
        raise PodmanFailed(f"podman {' '.join(words[:3])}: {last}")
    return out.decode().strip()


async def play(manifest: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Start a pod; gives its address."""
    pod = manifest[-1]["metadata"]["name"]
    network = f"{NETWORK}:{','.join(f'alias={name}' for name in names)}" if names else NETWORK
    await podman("play", "kube", "--quiet", "--network", network, "-", stdin=yaml.safe_dump_all(manifest))
    infra = json.loads(await podman("pod", "inspect", pod))["InfraContainerID"]
    (found,) = json.loads(await podman("inspect", infra))
    return str(found["NetworkSettings"]["Networks"][NETWORK]["IPAddress"])


def weigh(pods: int) -> None:
    """Have the processor's time for so many pods: as much for each as a process beside them has.

    podman puts all its pods into one group, and the group weighs as much as one process. Beside twenty others that are
    busy, a whole shop would then get a tenth of a core.
    """
    for path, one, most in WEIGHTS:
        with suppress(OSError):  # the other version of control groups, or none that can be written here
            path.write_text(str(min(max(1, pods) * one, most)))


async def exit_code(pod: str, container: str) -> int | None:
    """What a container ended with; None while it runs."""
    (found,) = json.loads(await podman("inspect", f"{pod}-{container}"))
    return None if found["State"]["Running"] else int(found["State"]["ExitCode"])


async def pid_of(pod: str, container: str) -> int:
    """The process of a container. One that `podman kill` ends is not started again: podman takes that for an order."""
    (found,) = json.loads(await podman("inspect", f"{pod}-{container}"))
    return int(found["State"]["Pid"])


async def waited(pod: str, container: str) -> int:
    """Wait until a container has ended; gives what it ended with."""
    return int(await podman("wait", f"{pod}-{container}"))


async def log_of(pod: str, container: str, lines: int = 5) -> str:
    """The last lines that a container wrote; all of them with -1."""
    process = await asyncio.create_subprocess_exec(
        *("podman", "logs", "--tail", str(lines), f"{pod}-{container}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    return (await process.communicate())[0].decode().strip()


async def memory_mib(pods: Sequence[str]) -> dict[str, float]:
    """How much memory the containers of some pods use."""
    listed = json.loads(await podman("stats", "--no-stream", "--no-reset", "--format", "json"))
    found = {each["name"]: _mib(each["mem_usage"].partition("/")[0].strip()) for each in listed}
    return {pod: size for pod in pods for name, size in found.items() if name.startswith(f"{pod}-")}


def _mib(text: str) -> float:
    factors = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "B": 1.0}
    unit = next(unit for unit in factors if text.endswith(unit))
    return float(text.removesuffix(unit)) * factors[unit] / 2**20


async def remove(pod: str) -> None:
    """Remove a pod and its volumes."""
    await podman("pod", "rm", "--force", "--time", "0", pod)
    await _remove_volumes(f"{LABEL}={pod}")


async def _remove_volumes(label: str) -> None:
    if found := (await podman("volume", "ls", "--quiet", "--filter", f"label={label}")).split():
        await podman("volume", "rm", "--force", *found)


async def remove_all(secrets: Sequence[str]) -> None:
    """Remove all that was played, also by an earlier run that was killed."""
    if listed := (await podman("pod", "ps", "--filter", f"label={LABEL}", "--format", "{{.Name}}")).split():
        await podman("pod", "rm", "--force", "--time", "0", *listed)
    await _remove_volumes(LABEL)
    weigh(1)
    for words in (
        *(("secret", "rm", name) for name in secrets),
        ("network", "rm", "--force", NETWORK),
    ):
        with suppress(PodmanFailed):  # what is not there need not be removed
            await podman(*words)
