"""How the API server reaches this node's containers: logs, exec, attach, port-forward."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kubernel.errors import BadRequest, InternalError, NotFound
from kubernel.plugin.contract import RuntimeRefusal
from kubernel_plugins.node.kubelet.logs import LogOptions, read_log

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.plugin.contract import Execution, Runtime
    from kubernel.store.records import Obj
    from kubernel_plugins.node.kubelet.track import Track
    from kubernel_plugins.node.kubelet.worker import PodWorker

__all__ = ["Streams"]


class Streams:
    """``NodeStreams`` of the kubelet."""

    def __init__(self, runtime: Runtime, clock: Clock, worker: Callable[[str], PodWorker | None]) -> None:
        self._runtime = runtime
        self._clock = clock
        self._worker = worker

    def _find(self, pod: Obj, container: str) -> tuple[PodWorker, Track]:
        metadata = pod["metadata"]
        worker = self._worker(metadata["uid"])
        if worker is None:
            raise NotFound.for_object("pods", "", metadata["name"])
        track = worker.track(container)
        if track is None:
            raise BadRequest(f"container {container} is not valid for pod {metadata['name']}")
        return worker, track

    def _waiting(self, pod: Obj, track: Track) -> BadRequest:
        reason = track.waiting[0] if track.waiting else "ContainerCreating"
        name = pod["metadata"]["name"]
        if reason in ("ContainerCreating", "PodInitializing"):
            return BadRequest(f'container "{track.name}" in pod "{name}" is waiting to start: {reason}')
        message = (track.waiting or ("", ""))[1] or reason
        return BadRequest(f'container "{track.name}" in pod "{name}" is waiting to start: {message}')

    async def logs(self, pod: Obj, container: str, options: Mapping[str, str]) -> AsyncIterator[bytes]:
        worker, track = self._find(pod, container)
        state = track.state
        if options.get("previous") in ("true", "1"):
            # While the next start is held up, the last container is the previous one.
            held_up = track.exited and track.waiting is not None
            state = track.state if held_up else track.previous
            if state is None:
                name = pod["metadata"]["name"]
                raise BadRequest(f'previous terminated container "{container}" in pod "{name}" not found')
        if state is None:
            raise self._waiting(pod, track)
        chosen = LogOptions.parse(options, self._clock.time())
        path = worker.log_path(container, state.attempt)
        container_id = state.id

        def ended() -> bool:
            now = track.state
            return now is None or now.id != container_id or now.phase == "exited"

        async for chunk in read_log(path, chosen, self._clock, ended):
            yield chunk

    def _running(self, pod: Obj, container: str) -> str:
        _worker, track = self._find(pod, container)
        if track.state is None:
            raise self._waiting(pod, track)
        if not track.running:
            if _phase(pod) in ("Succeeded", "Failed"):
                phase = _phase(pod)
                raise BadRequest(
                    f"cannot exec or attach into a container in a completed pod; current phase is {phase}"
                )
            raise InternalError(f'Internal error occurred: container not found ("{track.name}")')
        return track.state.id

    async def exec(
        self, pod: Obj, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Execution:
        container_id = self._running(pod, container)
        try:
            return await self._runtime.exec(container_id, command, stdin=stdin, tty=tty)
        except RuntimeRefusal as refusal:
            raise InternalError(
                f"Internal error occurred: error executing command in container: {refusal.message}"
            ) from refusal

    async def attach(self, pod: Obj, container: str, *, stdin: bool, tty: bool) -> Execution:
        container_id = self._running(pod, container)
        try:
            return await self._runtime.attach(container_id, stdin=stdin, tty=tty)
        except RuntimeRefusal as refusal:
            raise InternalError(
                f"Internal error occurred: error attaching to container: {refusal.message}"
            ) from refusal

    async def dial(self, pod: Obj, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the pod's address and, as port-forward reaches what listens on localhost only, to that."""
        worker = self._worker(pod["metadata"]["uid"])
        if worker is None or not worker.address:
            raise BadRequest(
                f"unable to forward port because pod is not running. Current status={_phase(pod)}"
            )
        failure: OSError | None = None
        for address in dict.fromkeys((worker.address, "127.0.0.1")):
            try:
                return await asyncio.open_connection(address, port)
            except OSError as error:
                failure = failure or error
        raise InternalError(
            f"Internal error occurred: failed to connect to port {port} of pod {pod['metadata']['name']}: "
            f"{failure.strerror if failure else ''}"
        )


def _phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))
