"""One pod on its way from bound to gone.

``sync`` looks at the pod and its containers and takes the next steps; it never waits long. What takes
time (stopping, hooks, probes, back-off) runs beside it and asks for another look when done.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kubernel.clock import rfc3339
from kubernel.errors import ApiError, Conflict, NotFound
from kubernel.objects import times
from kubernel_plugins.node.kubelet import ending, starting
from kubernel_plugins.node.kubelet.recovery import recover
from kubernel_plugins.node.kubelet.refresh import refresh
from kubernel_plugins.node.kubelet.status import Facts, changed, pod_status
from kubernel_plugins.node.kubelet.track import Track, kind_of
from kubernel_plugins.node.kubelet.volumes import MountProblem, Volumes

if TYPE_CHECKING:
    from kubernel.clock import Timer
    from kubernel.plugin.contract import ContainerState
    from kubernel.store.records import Obj
    from kubernel_plugins.node.kubelet.context import Context

__all__ = ["PodWorker", "remove_tree"]

_PARTS = {
    "app": "containers",
    "init": "initContainers",
    "sidecar": "initContainers",
    "ephemeral": "ephemeralContainers",
}
_DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


class PodWorker:
    def __init__(self, context: Context, pod: Obj, known: Sequence[ContainerState]) -> None:
        self.context = context
        self.pod = pod
        self.removed = False
        metadata, spec = pod["metadata"], pod["spec"]
        self.uid: str = metadata["uid"]
        self.full_name = f"{metadata['name']}_{metadata.get('namespace', '')}({self.uid})"
        self.directory = context.pods_directory / self.uid
        self.volumes = Volumes(context.client, context.clock, self.directory / "volumes", context.lookup)
        self.inits = [Track(c, kind_of(c, init=True)) for c in spec.get("initContainers") or ()]
        self.apps = [Track(c, "app") for c in spec["containers"]]
        self.ephemeral = [Track(c, "ephemeral") for c in spec.get("ephemeralContainers") or ()]
        self._latest = pod
        self._status: Mapping[str, Any] = pod.get("status") or {}
        self._started_at = self._status.get("startTime") or rfc3339(context.clock.time())
        self._addresses: Sequence[str] = ()
        self._sandbox = False
        self._initialized = recover(self._status, self.inits, self.apps, self.ephemeral, known)
        self._was_final = self._finished = self._status.get("phase") in ("Succeeded", "Failed")
        self._failure: tuple[str, str] | None = None
        self._mount_failures = 0
        self.ending_since: float | None = None
        self._final_sent = False
        self._failures = 0
        self._dirty = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None

    def observe(self, pod: Obj) -> None:
        """The API has a newer version of the pod."""
        self.pod = pod
        self._remember(pod)
        containers = {container["name"]: container for container in _containers(pod)}
        for track in self.tracks:
            track.spec = containers.pop(track.name, track.spec)
            if track.running and track.state is not None and track.state.image != track.spec.get("image", ""):
                track.replaced = track.kind in ("app", "sidecar")
        self.ephemeral += [
            Track(container, "ephemeral")
            for container in pod["spec"].get("ephemeralContainers") or ()
            if container["name"] in containers
        ]

    def _remember(self, pod: Obj) -> None:
        # Answers to our own writes and the watch overtake each other.
        if _version(pod) >= _version(self._latest):
            self._latest = pod
            self._status = pod.get("status") or {}

    # --- being looked at --------------------------------------------------------------------

    def look_again(self) -> None:
        """Run ``sync`` soon: now, or once more after the one that is running."""
        self._dirty = True
        if self._task is None and not self._closed:
            self._task = self.context.spawn(self._run(), f"pod {self.full_name}")

    def references_changed(self) -> None:
        """Something the pod reads has changed: what was held up by it may go on at once."""
        for track in self.tracks:
            if track.waiting is not None and track.waiting[0] == "CreateContainerConfigError":
                track.retry_at = 0.0
        self.look_again()

    def close(self) -> None:
        """The node stops: leave the pod as it is."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for track in self.tracks:
            track.stop_probing()

    async def _run(self) -> None:
        try:
            while self._dirty:
                self._dirty = False
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                try:
                    delay = await self.sync()
                    self._failures = 0
                except (ApiError, OSError) as error:
                    delay = self._later(error)
                except Exception as error:
                    self.context.log.opt(exception=error).error("pod {}: sync failed", self.full_name)
                    delay = self._later(error)
                if delay is not None and not self._dirty:
                    self._timer = self.context.clock.call_later(delay, self.look_again)
        finally:
            self._task = None

    def _later(self, error: Exception) -> float:
        delay: float = min(0.5 * 2**self._failures, 60.0)
        self._failures += 1
        self.context.log.debug("pod {}: {}; again in {} s", self.full_name, error, delay)
        return delay

    @property
    def tracks(self) -> list[Track]:
        return [*self.inits, *self.apps, *self.ephemeral]

    def track(self, name: str) -> Track | None:
        return next((track for track in self.tracks if track.name == name), None)

    @property
    def address(self) -> str:
        return self._addresses[0] if self._addresses else ""

    @property
    def grace(self) -> float:
        """Seconds the pod gets to end: of its deletion when it is being deleted, else its own."""
        own = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        return float(self.pod["metadata"].get("deletionGracePeriodSeconds", own))

    def address_fields(self) -> dict[str, str]:
        hosts = self.context.host_addresses
        return {
            "status.podIP": self.address,
            "status.podIPs": ",".join(self._addresses),
            "status.hostIP": hosts[0] if hosts else "",
            "status.hostIPs": ",".join(hosts),
        }

    def log_path(self, container: str, attempt: int) -> Path:
        metadata = self.pod["metadata"]
        pod = f"{metadata.get('namespace', '')}_{metadata['name']}_{self.uid}"
        return self.context.logs_directory / pod / container / f"{attempt}.log"

    # --- events -----------------------------------------------------------------------------

    async def event(
        self, type: Literal["Normal", "Warning"], reason: str, message: str, track: Track | None = None
    ) -> None:
        path = ""
        if track is not None:
            path = f"spec.{_PARTS[track.kind]}{{{track.name}}}"
        await self.context.recorder.event(self.pod, type, reason, message, field_path=path)

    def tell(
        self, type: Literal["Normal", "Warning"], reason: str, message: str, track: Track | None = None
    ) -> None:
        """``event`` from a callback."""
        self.context.spawn(self.event(type, reason, message, track), "event")

    # --- the loop ---------------------------------------------------------------------------

    async def sync(self) -> float | None:
        """One look. Seconds after which another is due by itself, None when only a change is of interest."""
        await refresh(self)
        if self.removed:
            await self._clean()
            return None
        if self.pod["metadata"].get("deletionTimestamp") or self._finished or self._overdue():
            return await self._end()
        waits: list[float | None] = [self._deadline()]
        waits += await self._advance()
        await self._report(last=False)
        if self._finished:
            self.look_again()
        return min((wait for wait in waits if wait is not None), default=None)

    def _overdue(self) -> bool:
        if self._failure is None and (left := self._deadline()) is not None and left <= 0:
            self._failure = _DEADLINE
            self.tell(
                "Normal", "DeadlineExceeded", "Pod was active on the node longer than specified deadline"
            )
        return self._failure is not None

    def _deadline(self) -> float | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return None
        return times.parse(self._started_at) + float(seconds) - self.context.clock.time()

    # --- starting ---------------------------------------------------------------------------

    async def _advance(self) -> list[float | None]:
        context, pod = self.context, self.pod
        await context.prepare(pod)
        if not self._sandbox:
            self._addresses = await context.network.attach(pod)
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            await context.runtime.create_pod(pod, self.directory)
            self._sandbox = True
            for track in self.tracks:
                if track.kind != "init":
                    starting.begin_probing(self, track)
        try:
            renew = await self.volumes.update(pod, self.address_fields(), context.allocatable())
            self._mount_failures = 0
        except MountProblem as problem:
            await self.event("Warning", "FailedMount", str(problem))
            delay = min(0.5 * 2**self._mount_failures, 122.0)
            self._mount_failures += 1
            return [delay]
        waits: list[float | None] = [renew]
        if not self._initialized:
            self._initialized = await self._initialize(waits)
        if not self._initialized:
            return waits
        for track in (*self.apps, *self.inits):
            if track.replaced and track.running:
                ending.kill(
                    self, track, self.grace, f"Container {track.name} definition changed, will be restarted"
                )
        waits += [await starting.start(self, track) for track in self.apps if self._wants_start(track)]
        if all(track.exited and not self._wants_start(track) for track in self.apps):
            # The phase is final; what is left of the pod ends with it.
            self._finished = True
            return waits
        for track in (*self.inits, *self.ephemeral):
            due = track.kind == "sidecar" or (track.kind == "ephemeral" and track.state is None)
            if due and not track.running and track.stopping is None:
                waits.append(await starting.start(self, track))
        return waits

    async def _initialize(self, waits: list[float | None]) -> bool:
        """Take the init containers forward, one after the other; True when all have done their part."""
        policy = self.pod["spec"].get("restartPolicy", "Always")
        for track in self.inits:
            if track.kind == "sidecar":
                if not track.running:
                    waits.append(await starting.start(self, track))
                if not track.started or track.hook is not None:
                    return False
                continue
            if track.exited and track.state is not None:
                if track.state.exit_code == 0:
                    continue
                if policy == "Never":
                    self._finished = True
                    return False
            if not track.running:
                waits.append(await starting.start(self, track))
            return False
        return True

    def _wants_start(self, track: Track) -> bool:
        if track.running or track.stopping is not None:
            return False
        if track.state is None:
            return True
        policy = self.pod["spec"].get("restartPolicy", "Always")
        return track.replaced or policy == "Always" or (policy == "OnFailure" and track.state.exit_code != 0)

    async def retire(self, track: Track) -> None:
        """A new container takes the place of ``track.state``: keep that one, forget the one before."""
        if track.state is None:
            return
        if track.previous is not None:
            await self.context.runtime.remove_container(track.previous.id)
            for path in self.log_path(track.name, track.previous.attempt).parent.glob(
                f"{track.previous.attempt}.log*"
            ):
                path.unlink(missing_ok=True)
        track.previous = track.state

    # --- ending -----------------------------------------------------------------------------

    async def _end(self) -> float | None:
        deleting = bool(self.pod["metadata"].get("deletionTimestamp"))
        dead = ending.all_dead(self, self.grace)
        if not self._was_final:
            await self._report(last=dead and deleting)
        if dead and deleting and not self._final_sent:
            metadata = self.pod["metadata"]
            with contextlib.suppress(NotFound, Conflict):
                await self.context.client.delete(
                    "pods", metadata["name"], metadata.get("namespace", ""), grace_period=0, uid=self.uid
                )
            # Finalizers may keep the object; that is for others to end.
            self._final_sent = True
        return None

    async def _clean(self) -> None:
        """The object is gone: stop what runs, then leave nothing behind."""
        if not ending.all_dead(self, min(self.grace, 30.0)):
            return
        await self.context.runtime.remove_pod(self.uid)
        await self.context.network.detach(self.uid)
        self.context.release(self.uid)
        self.close()
        logs = self.log_path("", 0).parent
        remove_tree(self.directory, logs)
        self.context.forget(self.uid)

    # --- telling ----------------------------------------------------------------------------

    async def _report(self, *, last: bool) -> None:
        """Write the status when it says something new."""
        context, metadata = self.context, self.pod["metadata"]
        now = context.clock.time()
        facts = Facts(
            now=now,
            runtime=context.runtime_name,
            addresses=self._addresses or tuple(ip["ip"] for ip in self._status.get("podIPs") or ()),
            host_addresses=context.host_addresses,
            start_time=self._started_at,
            sandbox=self._sandbox and not last and not self._finished,
            ending=last,
            failure=self._failure,
            initialized=self._initialized,
            containers=self.apps,
            init_containers=self.inits,
            ephemeral_containers=self.ephemeral,
        )
        status = pod_status(self.pod, facts, self._status)
        if not changed(status, self._status):
            return
        patch = {"metadata": {"uid": self.uid}, "status": status}
        try:
            answer = await context.client.patch(
                "pods",
                metadata["name"],
                patch,
                metadata.get("namespace", ""),
                type="strategic",
                subresource="status",
            )
        except (NotFound, Conflict):
            # Gone, or another pod has its name by now: the watch will tell.
            return
        self._remember(answer)


def _containers(pod: Obj) -> list[Mapping[str, Any]]:
    spec = pod["spec"]
    return [
        *(spec.get("initContainers") or ()),
        *spec["containers"],
        *(spec.get("ephemeralContainers") or ()),
    ]


def _version(pod: Obj) -> int:
    return int(pod["metadata"].get("resourceVersion") or 0)


def remove_tree(*paths: Path) -> None:
    """Remove directories with all that is in them; what links point to stays."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
