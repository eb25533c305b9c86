"""Taking over what the runtime says of a pod's containers."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from kubernel_plugins.node.kubelet.logs import tail_of
from kubernel_plugins.node.kubelet.starting import termination_log

if TYPE_CHECKING:
    from kubernel.plugin.contract import ContainerState
    from kubernel_plugins.node.kubelet.track import Track
    from kubernel_plugins.node.kubelet.worker import PodWorker

__all__ = ["refresh"]

_MESSAGE = 4096
"""Bytes of a termination message that are kept (kubelet's limit)."""


async def refresh(worker: PodWorker) -> None:
    """Note which containers have ended; one that the runtime does not know any more ended with 137."""
    context = worker.context
    states = {state.id: state for state in await context.runtime.list_containers(worker.uid)}
    for track in worker.tracks:
        held = track.state
        if held is None or held.phase == "exited":
            continue
        now = states.get(held.id)
        if now is None:
            now = dataclasses.replace(
                held,
                phase="exited",
                exit_code=137,
                finished=context.clock.time(),
                reason="ContainerStatusUnknown",
                message="The container could not be located when the pod was synced",
            )
        if now.phase == "exited":
            track.state = _with_message(worker, track, now)
            track.started = track.ready = False
            track.stop_probing()
            if track.hook is not None:
                track.hook.cancel()
                track.hook = None


def _with_message(worker: PodWorker, track: Track, state: ContainerState) -> ContainerState:
    if state.message:
        return state
    message = b""
    path = termination_log(worker, track, state.attempt)
    with contextlib.suppress(OSError), open(path, "rb") as file:
        message = file.read(_MESSAGE)
    fallback = track.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
    text = message.decode(errors="replace")
    if not text and fallback and state.exit_code != 0:
        text = tail_of(worker.log_path(track.name, state.attempt))
    return dataclasses.replace(state, message=text) if text else state
