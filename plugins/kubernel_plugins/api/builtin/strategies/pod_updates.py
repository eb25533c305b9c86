"""What may change in a pod, through the pod itself, ``ephemeralcontainers`` and ``resize``."""

from __future__ import annotations

from typing import Any

from kubernel.errors import Cause
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import field
from kubernel_plugins.api.builtin.strategies.pod_validation import validate_container_list, validate_resources
from kubernel_plugins.api.builtin.strategies.qos import qos_class

__all__ = ["IMMUTABLE", "validate_ephemeral_containers", "validate_resize", "validate_spec_update"]

Obj = dict[str, Any]

IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
_RESIZE_ONLY = "only cpu and memory resources are mutable"


def _with_images(containers: list[Obj], old: list[Obj]) -> list[Obj]:
    """``containers`` with the images of ``old``: what else is different may not be."""
    merged = []
    for now, before in zip(containers, old, strict=True):
        container = dict(now)
        if "image" in before:
            container["image"] = before["image"]
        else:
            container.pop("image", None)
        merged.append(container)
    return merged


def _validate_deadline(new: int | None, old: int | None) -> list[Cause]:
    if old is None or new == old:
        return []
    if new is None:
        detail = "must not update from a positive integer to nil value"
        return [causes.invalid("spec.activeDeadlineSeconds", None, detail)]
    if new > old:
        detail = "must be less than or equal to previous value"
        return [causes.invalid("spec.activeDeadlineSeconds", new, detail)]
    return []


def _tolerations_kept(new: list[Obj], old: list[Obj]) -> bool:
    def without_seconds(toleration: Obj) -> Obj:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    present = [without_seconds(toleration) for toleration in new]
    return all(without_seconds(toleration) in present for toleration in old)


def _validate_gates(new: Obj, old: Obj) -> list[Cause]:
    before = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    return [
        causes.forbidden(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for index, gate in enumerate(new.get("schedulingGates") or ())
        if gate.get("name") not in before
    ]


def validate_spec_update(obj: Obj, old: Obj) -> list[Cause]:
    """The main endpoint: images, deadline, more tolerations, fewer scheduling gates."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if spec == before:
        return []
    found: list[Cause] = []
    for kind in ("containers", "initContainers"):
        now, then = spec.get(kind) or [], before.get(kind) or []
        if len(now) != len(then):
            return [causes.forbidden(f"spec.{kind}", "pod updates may not add or remove containers")]
        found.extend(
            causes.required(f"spec.{kind}[{index}].image")
            for index, container in enumerate(now)
            if not container.get("image")
        )
    found += _validate_deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    found += _validate_gates(spec, before)
    if found:
        return found
    masked = dict(spec)
    for kind in ("containers", "initContainers"):
        if spec.get(kind):
            masked[kind] = _with_images(spec[kind], before[kind])
    mutable = ["activeDeadlineSeconds", "schedulingGates"]
    if _tolerations_kept(spec.get("tolerations") or [], before.get("tolerations") or []):
        mutable.append("tolerations")
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get(
        "terminationGracePeriodSeconds"
    ) == 1:
        mutable.append("terminationGracePeriodSeconds")
    if before.get("schedulingGates"):
        mutable += ["nodeSelector", "affinity"]
    for key in mutable:
        if key in before:
            masked[key] = before[key]
        else:
            masked.pop(key, None)
    return [] if masked == before else [causes.forbidden("spec", IMMUTABLE)]


def validate_ephemeral_containers(obj: Obj, old: Obj) -> list[Cause]:
    """Existing ephemeral containers stay as they are; new ones must be valid containers."""
    new = field(obj, "spec", "ephemeralContainers") or []
    names = {container.get("name"): container for container in new}
    for container in field(old, "spec", "ephemeralContainers") or ():
        name = container.get("name")
        if name not in names:
            detail = f'existing ephemeral containers "{name}" may not be removed\n'
            return [causes.forbidden("spec.ephemeralContainers", detail)]
        if names[name] != container:
            detail = f'existing ephemeral containers "{name}" may not be changed\n'
            return [causes.forbidden("spec.ephemeralContainers", detail)]
    return validate_container_list(obj["spec"], "spec", "ephemeralContainers")


def validate_resize(obj: Obj, old: Obj) -> list[Cause]:
    """Only CPU and memory of containers, and the resize policy, may differ."""
    found: list[Cause] = []
    spec, before = obj["spec"], old["spec"]
    masked = dict(spec)
    for kind in ("containers", "initContainers"):
        now, then = spec.get(kind) or [], before.get(kind) or []
        if len(now) != len(then):
            return [causes.forbidden(f"spec.{kind}", "containers may not be added or removed on resize")]
        merged = []
        for index, (container, was) in enumerate(zip(now, then, strict=True)):
            found += validate_resources(container.get("resources") or {}, f"spec.{kind}[{index}].resources")
            kept = {**container}
            for key in ("resources", "resizePolicy"):
                if key in was:
                    kept[key] = was[key]
                else:
                    kept.pop(key, None)
            merged.append(kept)
            found += _only_cpu_and_memory(
                container.get("resources") or {},
                was.get("resources") or {},
                f"spec.{kind}[{index}].resources",
            )
        if merged:
            masked[kind] = merged
    if "resources" in before:
        masked["resources"] = before["resources"]
    else:
        masked.pop("resources", None)
    if masked != before:
        found.append(causes.forbidden("spec", _RESIZE_ONLY))
    before_class = field(old, "status", "qosClass")
    if before_class and qos_class(obj) != before_class:
        found.append(
            causes.invalid("spec", qos_class(obj), "Pod QOS Class may not change as a result of resizing")
        )
    return found


def _only_cpu_and_memory(new: Obj, old: Obj, path: str) -> list[Cause]:
    for kind in ("requests", "limits"):
        now, then = new.get(kind) or {}, old.get(kind) or {}
        if {k: v for k, v in now.items() if k not in ("cpu", "memory")} != {
            k: v for k, v in then.items() if k not in ("cpu", "memory")
        }:
            return [causes.forbidden(path, _RESIZE_ONLY)]
    return []
