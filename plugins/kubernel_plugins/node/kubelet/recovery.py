"""Taking up a pod that an earlier run of the node has begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.objects import times
from kubernel.plugin.contract import ContainerState

if TYPE_CHECKING:
    from kubernel_plugins.node.kubelet.track import Track

__all__ = ["recover"]


def recover(
    status: Mapping[str, Any],
    inits: Sequence[Track],
    apps: Sequence[Track],
    ephemeral: Sequence[Track],
    known: Sequence[ContainerState],
) -> bool:
    """Fill the tracks from what the runtime still knows and, where it knows nothing, from the pod's status.
    True when the init containers have done their part before."""
    entries = {
        entry["name"]: entry
        for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for entry in status.get(key) or ()
    }
    for track in (*inits, *apps, *ephemeral):
        entry = entries.get(track.name) or {}
        mine = sorted((s for s in known if s.name == track.name), key=lambda state: state.attempt)
        track.restarts = max(int(entry.get("restartCount", 0)), mine[-1].attempt if mine else 0)
        if mine:
            track.state = mine[-1]
            track.previous = mine[-2] if len(mine) > 1 else None
        else:
            track.state = _from_status(entry)
        if track.running:
            # Adopted: its probes begin anew, until then it counts as it was told.
            track.started, track.ready = bool(entry.get("started")), bool(entry.get("ready"))
    initialized = any(
        c["type"] == "Initialized" and c["status"] == "True" for c in status.get("conditions") or ()
    )
    return initialized or any(track.state is not None for track in apps)


def _from_status(entry: Mapping[str, Any]) -> ContainerState | None:
    state = entry.get("state") or {}
    ended = state.get("terminated") or (entry.get("lastState") or {}).get("terminated")
    running = state.get("running")
    if running is None and ended is None:
        return None
    source = running if running is not None else ended or {}
    return ContainerState(
        id=str(source.get("containerID") or entry.get("containerID", "")).partition("://")[2],
        pod_uid="",
        name=str(entry["name"]),
        attempt=int(entry.get("restartCount", 0)),
        # Told as running and unknown to the runtime: the first look finds it lost.
        phase="running" if running is not None else "exited",
        image=str(entry.get("image", "")),
        image_id=str(entry.get("imageID", "")),
        started=_time(source.get("startedAt")),
        finished=_time(source.get("finishedAt")),
        exit_code=int(source.get("exitCode", 0)),
        signal=int(source.get("signal", 0)),
        reason=str(source.get("reason", "")),
        message=str(source.get("message", "")),
    )


def _time(text: Any) -> float:
    return times.parse(text) if text else 0.0
