"""Defaults of pods and pod templates that depend on other fields; constant ones are in ``tables.overlay``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["all_containers", "default_addresses", "default_pod_spec", "default_spec", "image_tag"]

Obj = dict[str, Any]


def image_tag(image: str) -> str:
    """The tag of an image reference; ``latest`` when it has neither tag nor digest, empty without a name."""
    if not image:
        return ""
    name, at, _ = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    if colon:
        return tag
    return "" if at else "latest"


def all_containers(spec: Obj) -> Iterator[tuple[str, int, Obj]]:
    """(field, index, container) of containers, init containers and ephemeral ones."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            if isinstance(container, dict):
                yield kind, index, container


def _default_pull_policy(container: Obj) -> None:
    if not container.get("imagePullPolicy"):
        latest = image_tag(container.get("image") or "") == "latest"
        container["imagePullPolicy"] = "Always" if latest else "IfNotPresent"


_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_ATOMIC = ("secret", "configMap", "downwardAPI", "projected")


def _drop_disabled(spec: Obj) -> None:
    """Fields behind feature gates that are off by default in v1.37 (pkg/api/pod/util.go); ``schedulingGroup`` stays,
    for clusters that serve pod groups."""
    spec.pop("evictionResponders", None)  # EvictionRequestAPI
    for _, _, container in all_containers(spec):
        hooks = container.get("lifecycle")
        if isinstance(hooks, dict):
            hooks.pop("stopSignal", None)  # ContainerStopSignals
        for handler in (*map(container.get, _PROBES), *(hooks.values() if isinstance(hooks, dict) else ())):
            for action, field in (("httpGet", "protocol"), ("grpc", "mode")):
                if isinstance(handler, dict) and isinstance(handler.get(action), dict):
                    handler[action].pop(field, None)  # H2CContainerProbe, GRPCContainerProbeTLS
        for mount in container.get("volumeMounts") or ():
            if isinstance(mount, dict):
                mount.pop("bindMountOptions", None)  # VolumeBindMountOptions
    for volume in spec.get("volumes") or ():
        if isinstance(volume, dict):
            _drop_disabled_in_volume(volume)


def _drop_disabled_in_volume(volume: Obj) -> None:
    """EmptyDirVolumeMode and AtomicWriteVolumeUserFields."""
    if isinstance(volume.get("emptyDir"), dict):
        volume["emptyDir"].pop("mode", None)
    for kind in _ATOMIC:
        source = volume.get(kind)
        if not isinstance(source, dict):
            continue
        source.pop("defaultUser", None)
        for part in (source, *_projections(source)):
            part.pop("user", None)
            for item in part.get("items") or ():
                if isinstance(item, dict):
                    item.pop("user", None)


def _projections(source: Obj) -> Iterator[Obj]:
    for projection in source.get("sources") or ():
        if isinstance(projection, dict):
            yield from (part for part in projection.values() if isinstance(part, dict))


def default_pod_spec(spec: Obj) -> None:
    """For every pod spec, in templates too (SetDefaults_PodSpec, _Container, _Volume)."""
    _drop_disabled(spec)
    for _, _, container in all_containers(spec):
        _default_pull_policy(container)
        for probe in _PROBES:
            _default_probe(container.get(probe))
    for volume in spec.get("volumes") or ():
        if not isinstance(volume, dict):
            continue
        if not any(key != "name" for key in volume):
            volume["emptyDir"] = {}
        image = volume.get("image")
        if isinstance(image, dict) and not image.get("pullPolicy"):
            latest = image_tag(image.get("reference") or "") == "latest"
            image["pullPolicy"] = "Always" if latest else "IfNotPresent"


_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def _default_probe(probe: Any) -> None:
    # Upstream cannot tell an explicit 0 from an absent number.
    if isinstance(probe, dict):
        for name, value in _PROBE.items():
            if probe.get(name, 0) == 0:
                probe[name] = value


def default_addresses(pod: Obj) -> None:
    """podIP and podIPs say the same; the one that older clients know wins (SetDefaults_PodStatus)."""
    status = pod.get("status")
    if not isinstance(status, dict):
        return
    first, listed = status.get("podIP"), status.get("podIPs")
    if first and (not listed or listed[0].get("ip") != first):
        status["podIPs"] = [{"ip": first}]
    elif listed and not first:
        status["podIP"] = listed[0].get("ip")


def default_spec(spec: Obj) -> None:
    """For pods only, not for templates (SetDefaults_Pod)."""
    default_pod_spec(spec)
    # The deprecated name of the field mirrors the real one.
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    spec.setdefault("enableServiceLinks", True)
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for kind, _, container in all_containers(spec):
        if kind == "ephemeralContainers":
            continue
        resources = container.get("resources")
        if isinstance(resources, dict) and resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
        if spec.get("hostNetwork"):
            for port in container.get("ports") or ():
                if isinstance(port, dict) and not port.get("hostPort") and port.get("containerPort"):
                    port["hostPort"] = port["containerPort"]
