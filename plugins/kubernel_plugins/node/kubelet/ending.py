"""Stopping the containers of a pod: hooks first, within the grace period, in the right order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel_plugins.node.kubelet.handlers import handle

if TYPE_CHECKING:
    from kubernel_plugins.node.kubelet.track import Track
    from kubernel_plugins.node.kubelet.worker import PodWorker

__all__ = ["all_dead", "kill"]

_LEAST_AFTER_HOOK = 2.0
"""Seconds a container gets after its preStop hook has used up the grace period, as kubelet grants them."""


def kill(worker: PodWorker, track: Track, grace: float, message: str) -> None:
    """Stop a running container beside the loop. A second call may only shorten the grace."""
    if not track.running or track.state is None:
        return
    spawn = worker.context.spawn
    if track.stopping is not None:
        if grace < track.stop_grace:
            track.stop_grace = grace
            hurry = worker.context.runtime.stop_container(track.state.id, grace)
            spawn(hurry, f"stop {track.name} sooner")
        return
    track.stop_grace = grace
    track.stopping = spawn(_stop(worker, track, track.state.id, message), f"stop {track.name}")


async def _stop(worker: PodWorker, track: Track, container_id: str, message: str) -> None:
    context = worker.context
    begun = context.clock.monotonic()
    try:
        await worker.event("Normal", "Killing", message, track)
        hook = (track.spec.get("lifecycle") or {}).get("preStop")
        if hook and track.stop_grace > 0:
            ok, why = await handle(
                hook,
                container=track.spec,
                container_id=container_id,
                address=worker.address,
                runtime=context.runtime,
                clock=context.clock,
                timeout=track.stop_grace,
            )
            if not ok:
                await worker.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {why}", track)
        # The hook's time is the container's; a deletion meanwhile may have shortened it.
        left = track.stop_grace - (context.clock.monotonic() - begun)
        await context.runtime.stop_container(container_id, max(left, _LEAST_AFTER_HOOK if hook else 0.0))
    finally:
        track.stopping = None
        worker.look_again()


def _kill_all(worker: PodWorker, tracks: Iterable[Track], grace: float) -> bool:
    """Stop all of ``tracks``; True when none runs."""
    running = [track for track in tracks if track.running]
    for track in running:
        for prober in track.probers:
            if prober.kind != "readiness":
                prober.stop()
        kill(worker, track, grace, f"Stopping container {track.name}")
    return not running


def all_dead(worker: PodWorker, grace: float) -> bool:
    """Stop the pod's containers: applications and plain init containers first, then sidecars in reverse
    order. True when nothing runs."""
    now = worker.context.clock.monotonic()
    if worker.ending_since is None:
        worker.ending_since = now
    left = max(grace - (now - worker.ending_since), min(grace, _LEAST_AFTER_HOOK))
    plain = (track for track in worker.inits if track.kind == "init")
    if not _kill_all(worker, [*worker.apps, *worker.ephemeral, *plain], grace):
        return False
    sidecars = [track for track in reversed(worker.inits) if track.kind == "sidecar"]
    return all(_kill_all(worker, [track], left) for track in sidecars)
