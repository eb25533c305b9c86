"""What may change in a pod, through the pod itself, ``ephemeralcontainers`` and ``resize``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.qos import qos_class
from kubernel_plugins.api.builtin.validation.internal import go_diff, go_equal, go_value
from kubernel_plugins.api.builtin.validation.pod_specs import (
    Lenient,
    is_deletion_cost,
    pod_metadata_and_spec,
)
from kubernel_plugins.api.builtin.validation.scheduling import tolerations
from kubernel_plugins.api.builtin.validation.values import MAX_INT32, Found, Obj, between, label_selector

__all__ = ["ephemeral_containers_update", "lenient_as", "pod_update", "resize"]

IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
_MIRROR = "kubernetes.io/config.mirror"
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_RESIZE_ONLY = "only cpu and memory resources are mutable"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_AMOUNTS = ("cpu", "memory")


def lenient_as(spec: Obj, meta: Mapping[str, Any]) -> Lenient:
    """The rules that a stored pod, or pod template, breaks already."""
    wanted = spec.get("affinity") or {}
    constraints = spec.get("topologySpreadConstraints") or ()
    cost = (meta.get("annotations") or {}).get(_DELETION_COST)
    if not wanted and not constraints and cost is None:
        return Lenient()
    return Lenient(
        label_values=any(map(_bad_selector_values, _pod_selectors(wanted))),
        node_label_values=_bad_node_values(wanted.get("nodeAffinity") or {}),
        spread_selectors=any(_bad_selector(one.get("labelSelector")) for one in constraints),
        deletion_cost=cost is not None and not is_deletion_cost(cost),
    )


def _pod_selectors(wanted: Obj) -> Iterable[Obj]:
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = wanted.get(kind) or {}
        terms = [*(pods.get(_REQUIRED) or ())]
        terms += [one.get("podAffinityTerm") or {} for one in pods.get(_PREFERRED) or ()]
        for term in terms:
            yield from (term[key] for key in ("labelSelector", "namespaceSelector") if term.get(key))


def _bad_selector_values(selector: Obj) -> bool:
    return any(
        names.check_label_value(value)
        for rule in selector.get("matchExpressions") or ()
        for value in rule.get("values") or ()
    )


def _bad_selector(selector: Obj | None) -> bool:
    found: Found = []
    label_selector(selector, "", found)
    return bool(found)


def _bad_node_values(node: Obj) -> bool:
    return any(
        names.check_label_value(value)
        for term in (node.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()
        for rule in term.get("matchExpressions") or ()
        for value in rule.get("values") or ()
    )


def annotations_update(obj: Obj, old: Obj, found: Found) -> None:
    """The annotations that a pod keeps for life."""
    now, before = obj["metadata"].get("annotations") or {}, old["metadata"].get("annotations") or {}
    if now == before:
        return
    for key in (*before, *(key for key in now if key not in before)):
        if now.get(key) == before.get(key):
            continue
        where = f"metadata.annotations[{key}]"
        verb = "remove or update" if key in before else "add"
        if key.startswith(_APP_ARMOR):
            found.append(causes.forbidden(where, f"may not {verb} AppArmor annotations"))
        if key == _MIRROR:
            found.append(causes.forbidden(where, f"may not {verb} mirror pod annotation"))


def pod_update(obj: Obj, old: Obj) -> Found:
    """The main endpoint: images, deadline, more tolerations, fewer scheduling gates."""
    found: Found = []
    spec, before = obj["spec"], old["spec"]
    annotations_update(obj, old, found)
    if (
        spec == before
        and not found
        and obj["metadata"].get("annotations") == old["metadata"].get("annotations")
    ):
        return found
    pod_metadata_and_spec(obj, lenient_as(before, old["metadata"]), found)
    for kind in ("containers", "initContainers"):
        now, then = spec.get(kind) or [], before.get(kind) or []
        if len(now) != len(then):
            found.append(causes.forbidden(f"spec.{kind}", "pod updates may not add or remove containers"))
            return found
    if not _deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"), found):
        return found
    _only_added_tolerations(spec.get("tolerations") or (), before.get("tolerations") or (), found)
    _only_removed_gates(spec, before, found)
    if spec == before:
        return found
    masked = {**spec}
    for kind in ("containers", "initContainers"):
        if spec.get(kind):
            masked[kind] = [
                _like(one, was, "image") for one, was in zip(spec[kind], before[kind], strict=True)
            ]
    masked = _like(masked, before, "activeDeadlineSeconds", "schedulingGates", "tolerations")
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get(
        "terminationGracePeriodSeconds"
    ) == 1:
        masked = _like(masked, before, "terminationGracePeriodSeconds")
    if before.get("schedulingGates"):
        masked = _gated(masked, before, found)
    if not go_equal("core.PodSpec", masked, before):
        difference = go_diff("core.PodSpec", before, masked)
        found.append(causes.forbidden("spec", f"{IMMUTABLE}\n{difference}"))
    return found


def _like(obj: Obj, other: Obj, *keys: str) -> Obj:
    """``obj`` with these fields as in ``other``."""
    made = {**obj}
    for key in keys:
        if key in other:
            made[key] = other[key]
        else:
            made.pop(key, None)
    return made


def _deadline(new: int | None, old: int | None, found: Found) -> bool:
    """False where upstream looks no further."""
    where = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            told = "must not update from a positive integer to nil value"
            found.append(causes.invalid(where, None, told))
        return True
    before = len(found)
    between(new, where, 0, MAX_INT32, found)
    if len(found) == before and old is not None and old < new:
        found.append(causes.invalid(where, new, "must be less than or equal to previous value"))
    return len(found) == before


def _only_added_tolerations(new: Iterable[Obj], old: Iterable[Obj], found: Found) -> None:
    def without_seconds(toleration: Obj) -> Obj:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds" and value}

    present = [without_seconds(toleration) for toleration in new]
    if not all(without_seconds(toleration) in present for toleration in old):
        told = "existing toleration can not be modified except its tolerationSeconds"
        found.append(causes.forbidden("spec.tolerations", told))
        return
    tolerations(new, "spec.tolerations", found)


def _only_removed_gates(new: Obj, old: Obj, found: Found) -> None:
    before = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    for index, gate in enumerate(new.get("schedulingGates") or ()):
        if gate.get("name") not in before:
            told = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            found.append(causes.forbidden(f"spec.schedulingGates[{index}].name", told))


def _gated(masked: Obj, before: Obj, found: Found) -> Obj:
    """What a pod that waits for its gates may narrow: node selector and node affinity."""
    new, old = masked.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if new != old:
        if any(new.get(key) != value for key, value in old.items()):
            told = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            shown = masked.get("nodeSelector")
            found.append(causes.invalid("spec.nodeSelector", shown, told))
        masked = _like(masked, before, "nodeSelector")
    now, then = masked.get("affinity") or {}, before.get("affinity") or {}
    if now.get("nodeAffinity") != then.get("nodeAffinity"):
        _narrower(now.get("nodeAffinity") or {}, then.get("nodeAffinity") or {}, found)
        rest = _like(now, then, "nodeAffinity")
        if rest or "affinity" in before:
            masked = {**masked, "affinity": rest}
        else:
            masked.pop("affinity", None)
    return masked


def _narrower(new: Obj, old: Obj, found: Found) -> None:
    where = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    before = (old.get(_REQUIRED) or {}).get("nodeSelectorTerms") or []
    now = (new.get(_REQUIRED) or {}).get("nodeSelectorTerms")
    if not before:
        return
    if len(before) != len(now or ()):
        told = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        found.append(causes.invalid(where, go_value("core.NodeSelectorTerm", now), told))
        return
    for index, (term, was) in enumerate(zip(now or (), before, strict=True)):
        if not _only_additions(term, was):
            shown = go_value("core.NodeSelectorTerm", term)
            told = "only additions are allowed (no mutations or deletions)"
            found.append(causes.invalid(f"{where}[{index}]", shown, told))


def _only_additions(term: Obj, was: Obj) -> bool:
    kinds = ("matchExpressions", "matchFields")
    if not any(was.get(kind) for kind in kinds):
        return not any(term.get(kind) for kind in kinds)
    return all((term.get(kind) or [])[: len(was.get(kind) or ())] == (was.get(kind) or []) for kind in kinds)


def ephemeral_containers_update(obj: Obj, old: Obj) -> Found:
    """Existing ephemeral containers stay as they are; new ones must be valid containers."""
    if _MIRROR in (old["metadata"].get("annotations") or ()):
        return [causes.forbidden("[]", "static pods do not support ephemeral containers")]
    found: Found = []
    pod_metadata_and_spec(obj, lenient_as(old["spec"], old["metadata"]), found)
    annotations_update(obj, old, found)
    now = {one.get("name"): one for one in obj["spec"].get("ephemeralContainers") or ()}
    for container in old["spec"].get("ephemeralContainers") or ():
        name = container.get("name")
        told = f'existing ephemeral containers "{name}" may not be '
        if name not in now:
            found.append(causes.forbidden("spec.ephemeralContainers", f"{told}removed\n"))
        elif not go_equal("core.EphemeralContainer", container, now[name]):
            difference = go_diff("core.EphemeralContainer", container, now[name])
            found.append(causes.forbidden("spec.ephemeralContainers", f"{told}changed\n{difference}"))
    return found


def resize(obj: Obj, old: Obj) -> Found:
    """Only CPU and memory of containers, and of the pod, may differ."""
    if _MIRROR in (old["metadata"].get("annotations") or ()):
        return [causes.forbidden("[]", "static pods cannot be resized")]
    if (old["spec"].get("os") or {}).get("name") == "windows":
        return [causes.forbidden("[]", "windows pods cannot be resized")]
    found: Found = []
    spec, before = obj["spec"], old["spec"]
    pod_metadata_and_spec(obj, lenient_as(before, old["metadata"]), found)
    had = (old.get("status") or {}).get("qosClass") or qos_class(old)
    if qos_class(obj) != had:
        shown = (obj.get("status") or {}).get("qosClass") or ""
        told = "Pod QOS Class may not change as a result of resizing"
        found.append(causes.invalid("spec", shown, told))
    if not _node_resizes(old):
        found.append(causes.forbidden("spec", "Pod running on node without support for resize"))
    masked = _pod_level(spec, before, found)
    if not _same_containers(spec, before, found):
        return found
    masked = _container_level(masked, before, found)
    if not found and not go_equal("core.PodSpec", masked, before):
        found.append(causes.forbidden("spec", _RESIZE_ONLY))
    return found


def _node_resizes(pod: Obj) -> bool:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if (status.get("state") or {}).get("running") is not None:
            return status.get("resources") is not None
    return True


def _removed(now: Mapping[str, Any] | None, then: Mapping[str, Any] | None) -> bool:
    return any(name not in (now or ()) for name in then or ())


def _amounts_like(resources: Obj, other: Obj) -> Obj:
    """``resources`` with the CPU and memory of ``other``."""
    made = {**resources}
    for kind in ("limits", "requests"):
        now, then = resources.get(kind) or {}, other.get(kind) or {}
        kept = {name: value for name, value in now.items() if name not in _AMOUNTS}
        kept |= {name: value for name, value in then.items() if name in _AMOUNTS}
        if kept:
            made[kind] = kept
        else:
            made.pop(kind, None)
    return made


def _pod_level(spec: Obj, before: Obj, found: Found) -> Obj:
    now, then = spec.get("resources"), before.get("resources")
    if not any((one or {}).get(kind) for one in (now, then) for kind in ("limits", "requests")):
        return spec
    if then is not None and now is None:
        found.append(causes.forbidden("spec.resources", "pod-level resources cannot be removed"))
        return _like(spec, before, "resources")
    if then is not None and now is not None:
        for kind, one in (("requests", "request"), ("limits", "limit")):
            if _removed(now.get(kind), then.get(kind)):
                told = f"pod-level resource {one}s cannot be removed"
                found.append(causes.forbidden(f"spec.resources.{kind}", told))
    masked = _amounts_like(now or {}, then or {})
    made = {**spec, "resources": masked}
    if then is None and not masked:
        del made["resources"]
    if not go_equal("core.ResourceRequirements", made.get("resources"), then):
        told = f"{_RESIZE_ONLY} at pod-level"
        found.append(causes.forbidden("spec", told))
    return made


def _same_containers(spec: Obj, before: Obj, found: Found) -> bool:
    same = True
    for kind in ("containers", "initContainers"):
        now, then = spec.get(kind) or [], before.get(kind) or []
        if len(now) != len(then):
            told = f"{kind} may not be added or removed on resize"
            found.append(causes.forbidden(f"spec.{kind}", told))
            same = False
            continue
        for index, (container, was) in enumerate(zip(now, then, strict=True)):
            if container.get("name") != was.get("name"):
                told = f"{kind} may not be renamed or reordered on resize"
                found.append(causes.forbidden(f"spec.{kind}[{index}].name", told))
                same = False
    return same


def _container_level(spec: Obj, before: Obj, found: Found) -> Obj:
    masked = {**spec}
    for kind in ("initContainers", "containers"):
        for index, (container, was) in enumerate(
            zip(spec.get(kind) or (), before.get(kind) or (), strict=True)
        ):
            now, then = container.get("resources") or {}, was.get("resources") or {}
            for amounts in ("requests", "limits"):
                if _removed(now.get(amounts), then.get(amounts)):
                    where = f"spec.{kind}[{index}].resources.{amounts}"
                    found.append(causes.forbidden(where, f"resource {amounts} cannot be removed"))
    for kind in ("containers", "initContainers"):
        if not spec.get(kind):
            continue
        made = []
        for index, (container, was) in enumerate(zip(spec[kind], before[kind], strict=True)):
            kept = {
                **container,
                "resources": _amounts_like(container.get("resources") or {}, was.get("resources") or {}),
            }
            if not go_equal("core.Container", kept, was):
                where, told = "spec", _RESIZE_ONLY
                if kind == "initContainers":
                    where = f"spec.initContainers[{index}]"
                    told = "only cpu and memory resources for init or sidecar containers are mutable"
                found.append(causes.forbidden(where, told))
            if kind == "initContainers" and container.get("restartPolicy") != "Always" and container != was:
                _restarted_by_resize(container, index, found)
            made.append(kept)
        masked[kind] = made
    return masked


def _restarted_by_resize(container: Obj, index: int, found: Found) -> None:
    for policy in container.get("resizePolicy") or ():
        if policy.get("restartPolicy") == "RestartContainer":
            told = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
            found.append(causes.forbidden(f"spec.initContainers[{index}]", told))
