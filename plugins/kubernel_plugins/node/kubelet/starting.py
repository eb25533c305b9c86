"""Starting one container of a pod: references resolved, runtime asked, hook and probes set going."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kubernel.objects import times
from kubernel.plugin.contract import ContainerSpec, RuntimeRefusal
from kubernel_plugins.node.kubelet.ending import kill
from kubernel_plugins.node.kubelet.environment import ConfigProblem, expand, resolve
from kubernel_plugins.node.kubelet.handlers import handle
from kubernel_plugins.node.kubelet.probes import Prober
from kubernel_plugins.node.kubelet.track import MAX_BACKOFF

if TYPE_CHECKING:
    from kubernel_plugins.node.kubelet.track import Track
    from kubernel_plugins.node.kubelet.worker import PodWorker

__all__ = ["begin_probing", "start", "termination_log"]

_RETRY = 10.0


def termination_log(worker: PodWorker, track: Track, attempt: int) -> str:
    """The file that is mounted at ``terminationMessagePath``."""
    return str(worker.directory / "containers" / track.name / f"termination-{attempt}")


async def start(worker: PodWorker, track: Track) -> float | None:
    """Start the next container of ``track``, or note why not. Seconds after which to try again."""
    context = worker.context
    now = context.clock.time()
    if now < track.retry_at:
        return track.retry_at - now
    if track.exited and not track.replaced:
        delay = track.crash_delay(now)
        if delay > 0:
            if track.waiting is None or track.waiting[0] != "CrashLoopBackOff":
                await worker.event(
                    "Warning",
                    "BackOff",
                    f"Back-off restarting failed container {track.name} in pod {worker.full_name}",
                    track,
                )
            message = (
                f"back-off {times.go_duration(round(track.backoff))} restarting failed container={track.name} "
                f"pod={worker.full_name}"
            )
            track.waiting = ("CrashLoopBackOff", message)
            return delay
    attempt = track.next_attempt
    try:
        spec = _spec(worker, track, attempt)
        state = await context.runtime.start_container(spec)
    except ConfigProblem as problem:
        return await _refused(worker, track, "CreateContainerConfigError", str(problem), _RETRY)
    except RuntimeRefusal as refusal:
        track.refusals += 1
        delay = min(_RETRY * 2 ** (track.refusals - 1), MAX_BACKOFF)
        return await _refused(worker, track, refusal.reason, refusal.message, delay)
    except OSError as error:
        return await _refused(worker, track, "CreateContainerError", str(error), _RETRY)
    track.refusals = 0
    track.replaced = False
    await worker.retire(track)
    track.state = state
    track.restarts = attempt
    track.waiting = None
    await worker.event("Normal", "Created", "Container created", track)
    if state.phase == "exited":
        await worker.event("Warning", "Failed", f"Error: {state.message}", track)
        worker.look_again()
        return None
    await worker.event("Normal", "Started", "Container started", track)
    if state.reason:
        await worker.event("Warning", state.reason, state.message, track)
    track.started = track.kind == "init" or not track.spec.get("startupProbe")
    track.ready = track.kind != "init" and track.started and not track.spec.get("readinessProbe")
    if (track.spec.get("lifecycle") or {}).get("postStart"):
        track.hook = context.spawn(_post_start(worker, track), f"postStart of {track.name}")
    if track.kind != "init":
        begin_probing(worker, track)
    return None


async def _refused(worker: PodWorker, track: Track, reason: str, message: str, delay: float) -> float:
    track.waiting = (reason, message)
    track.retry_at = worker.context.clock.time() + delay
    await worker.event("Warning", "Failed", f"Error: {message}", track)
    return delay


def _spec(worker: PodWorker, track: Track, attempt: int) -> ContainerSpec:
    context, pod, container = worker.context, worker.pod, track.spec
    metadata = pod["metadata"]
    namespace = metadata.get("namespace", "")
    env = resolve(
        pod,
        container,
        lookup=context.lookup,
        services=context.services(namespace),
        addresses=worker.address_fields(),
        allocatable=context.allocatable(),
    )
    mounts = worker.volumes.mounts(pod, container, env)
    message_path = container.get("terminationMessagePath") or "/dev/termination-log"
    message_file = termination_log(worker, track, attempt)
    os.makedirs(os.path.dirname(message_file), exist_ok=True)
    with open(message_file, "wb"):
        # Writable by whichever user the container runs as; nobody else gets into the directory.
        os.chmod(message_file, 0o666)  # noqa: S103
    return ContainerSpec(
        pod_uid=metadata["uid"],
        pod_name=metadata["name"],
        pod_namespace=namespace,
        name=track.name,
        attempt=attempt,
        image=container.get("image", ""),
        command=tuple(expand(word, env) for word in container.get("command") or ()),
        args=tuple(expand(word, env) for word in container.get("args") or ()),
        env=env,
        working_dir=container.get("workingDir") or "",
        mounts=(*mounts, (message_file, message_path, False)),
        log_path=str(worker.log_path(track.name, attempt)),
        tty=bool(container.get("tty")),
        stdin=bool(container.get("stdin")),
        spec=container,
        pod=pod,
    )


async def _post_start(worker: PodWorker, track: Track) -> None:
    state = track.state
    if state is None:
        return
    ok, message = await handle(
        track.spec["lifecycle"]["postStart"],
        container=track.spec,
        container_id=state.id,
        address=worker.address,
        runtime=worker.context.runtime,
        clock=worker.context.clock,
        timeout=None,
    )
    track.hook = None
    if not ok and track.state is not None and track.state.id == state.id and track.running:
        await worker.event("Warning", "FailedPostStartHook", f"PostStartHook failed: {message}", track)
        kill(worker, track, worker.grace, "FailedPostStartHook")
    worker.look_again()


def begin_probing(worker: PodWorker, track: Track) -> None:
    """Set the probes going that apply now: the startup probe alone, until it has succeeded."""
    state = track.state
    if state is None or not track.running:
        return
    track.stop_probing()
    kinds = ("readiness", "liveness") if track.started else ("startup",)
    for kind in kinds:
        probe = track.spec.get(f"{kind}Probe")
        if not probe:
            continue

        def on_failure(failed: str, message: str) -> None:
            title = failed.capitalize()
            worker.tell("Warning", "Unhealthy", f"{title} probe failed: {message}", track)

        def on_result(asked: str, ok: bool, message: str) -> None:
            _probed(worker, track, asked, ok)

        track.probers.append(
            Prober(
                kind,
                probe,
                pod=lambda: worker.pod,
                container=track.spec,
                container_id=state.id,
                address=worker.address,
                started=state.started,
                runtime=worker.context.runtime,
                clock=worker.context.clock,
                on_result=on_result,
                on_failure=on_failure,
            )
        )


def _probed(worker: PodWorker, track: Track, kind: str, ok: bool) -> None:
    if not track.running:
        return
    if kind == "readiness":
        if track.ready is ok:
            return
        track.ready = ok
    elif ok:
        if kind == "liveness" or track.started:
            return
        track.started = True
        track.ready = not track.spec.get("readinessProbe")
        begin_probing(worker, track)
    else:
        track.stop_probing()
        track.ready = False
        grace = (track.spec.get(f"{kind}Probe") or {}).get("terminationGracePeriodSeconds")
        message = f"Container {track.name} failed {kind} probe, will be restarted"
        kill(worker, track, worker.grace if grace is None else float(grace), message)
    worker.look_again()
