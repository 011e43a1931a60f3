"""The part of a cluster that the shop needs: starts pods, asks whether they are ready, ends and replaces them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from deploy.play import podman
from deploy.play.translate import Probe, Workload, World

READY_MAX_S = 300.0  # only ends what hangs
_LOOKS_S = 0.25


class NotReady(Exception):
    """A pod is not ready in time; with the last lines of its log."""


@dataclass(slots=True)
class Pod:
    """One pod that runs."""

    name: str
    of: Workload
    address: str
    ready: bool = False
    leaving: bool = False
    """Told to end: its callers learn it, as they do from the endpoints of a Service."""

    @property
    def container(self) -> str:
        """The name of its one container."""
        return str(self.of.pod["spec"]["containers"][0]["name"])


class Cluster:
    """The pods of one installation."""

    def __init__(self, world: World, logs: Path) -> None:
        self.world = world
        self._logs = logs
        self.pods: dict[str, list[Pod]] = {name: [] for name in world.workloads}
        self._numbers = dict.fromkeys(world.workloads, 0)
        self._http = httpx2.AsyncClient(timeout=2.0, trust_env=False)

    def addresses(self, name: str, port: int) -> tuple[str, ...]:
        """Where the ready pods of a workload are, as a Service knows them; all that stay, where none is ready."""
        staying = [pod for pod in self.pods[name] if not pod.leaving]
        ready = [pod for pod in staying if pod.ready]
        return tuple(f"http://{pod.address}:{port}" for pod in ready or staying)

    async def run_jobs(self) -> None:
        """Run each Job to its end."""
        for job in self.world.jobs:
            container = job.pod["spec"]["containers"][0]["name"]
            await podman.play(self._labelled(job, job.name), ())
            code = await podman.waited(job.name, container)
            if code:
                raise NotReady(f"{job.name} ended with {code}: {await podman.log_of(job.name, container)}")

    def _labelled(self, workload: Workload, pod: str) -> list[dict[str, object]]:
        """What is played for a pod. The pod and its volumes have a label, by which they are found and removed."""
        manifest = self.world.manifest(workload, pod)
        for played in manifest:
            if played["kind"] != "ConfigMap":
                played["metadata"]["labels"] = {**played["metadata"].get("labels", {}), podman.LABEL: pod}
        return manifest

    async def start(self, name: str) -> Pod:
        """Start one more pod of a workload, and wait until it is ready."""
        workload = self.world.workloads[name]
        self._numbers[name] += 1
        pod = f"{name}-{self._numbers[name]}"
        started = Pod(pod, workload, await podman.play(self._labelled(workload, pod), workload.names))
        self.pods[name].append(started)
        podman.weigh(sum(map(len, self.pods.values())))
        await self.wait_ready(started)
        return started

    async def start_all(self, names: Iterable[str]) -> None:
        """Start all replicas of these workloads at once."""
        wanted = [name for name in names for _ in range(self.world.workloads[name].replicas)]
        await asyncio.gather(*(self.start(name) for name in wanted))

    async def wait_ready(self, pod: Pod) -> float:
        """Wait until a pod is ready; gives for how long that was."""
        began_s = time.monotonic()
        while not await self._asked(pod):
            if time.monotonic() - began_s > READY_MAX_S:
                raise NotReady(f"{pod.name} is not ready: {await podman.log_of(pod.name, pod.container)}")
            await asyncio.sleep(_LOOKS_S)
        return time.monotonic() - began_s

    async def _asked(self, pod: Pod) -> bool:
        pod.ready = await self.is_ready(pod.address, pod.of.ready)
        return pod.ready

    async def is_ready(self, address: str, probe: Probe | None) -> bool:
        """What a probe says."""
        if probe is None:
            return True
        try:
            if probe.path:
                return (await self._http.get(f"http://{address}:{probe.port}{probe.path}")).is_success
            _, writer = await asyncio.open_connection(address, probe.port)
            writer.close()
        except (httpx2.HTTPError, OSError):
            return False
        return True

    async def keep_asking(self) -> None:
        """Ask all pods whether they are ready, as a kubelet does, until this is cancelled."""
        while True:
            await asyncio.gather(*(self._asked(pod) for pods in list(self.pods.values()) for pod in list(pods)))
            await asyncio.sleep(2 * _LOOKS_S)

    async def kill(self, pod: Pod) -> float:
        """Kill the process of a pod, which podman starts again; gives how long it was away."""
        began_s = time.monotonic()
        os.kill(await podman.pid_of(pod.name, pod.container), signal.SIGKILL)
        await asyncio.sleep(_LOOKS_S)
        await self.wait_ready(pod)
        return time.monotonic() - began_s

    async def drain(self, pod: Pod) -> float:
        """End a pod as a kubelet does: out of the Service, the hook, SIGTERM, its grace; gives how long that took."""
        began_s = time.monotonic()
        pod.leaving = True
        await asyncio.sleep(pod.of.pause_s)
        await podman.podman("stop", "--time", str(pod.of.grace_s), f"{pod.name}-{pod.container}")
        took_s = time.monotonic() - began_s
        code = await podman.exit_code(pod.name, pod.container)
        await self._keep_log(pod)
        self.pods[pod.of.name].remove(pod)
        await podman.remove(pod.name)
        if code != 0:
            raise NotReady(f"{pod.name} was told to end, and ended with {code}")
        return took_s

    async def roll(self, name: str, world: World) -> None:
        """Replace the pods of a workload by those of another version, one more first and then one less."""
        old = list(self.pods[name])
        self.world.workloads[name] = world.workloads[name]
        self.world.config_maps = world.config_maps
        for pod in old:
            if pod.of.recreated:
                await self.drain(pod)
                await self.start(name)
            else:
                await self.start(name)
                await self.drain(pod)

    async def keep_logs(self) -> None:
        """Write the log of each pod that is there into a file of its own."""
        await asyncio.gather(*(self._keep_log(pod) for pods in self.pods.values() for pod in pods))

    async def _keep_log(self, pod: Pod) -> None:
        written = await podman.log_of(pod.name, pod.container, -1)
        (self._logs / f"{pod.name}.log").write_text(f"{written}\n", encoding="utf-8")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
