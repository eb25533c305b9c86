"""What a kubelet or another reporter may say of a pod."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.addresses import dual_stack, ip_address
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.pod_updates import annotations_update
from kubernel_plugins.api.builtin.validation.values import Found, Obj, id_number, named

__all__ = ["pod_status_update"]

_SYSTEM_CONDITIONS = ("Initialized", "PodScheduled", "Ready")
_MAX_UINT32 = 2**32 - 1
_STATUS_LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def pod_status_update(obj: Obj, old: Obj) -> Found:
    found: Found = []
    annotations_update(obj, old, found)
    status, before = obj.get("status") or {}, old.get("status") or {}
    spec = obj["spec"]
    _conditions(status.get("conditions") or (), found)
    nominated = status.get("nominatedNodeName") or ""
    if nominated and nominated != before.get("nominatedNodeName"):
        where = "status.nominatedNodeName"
        named(nominated, where, names.check_dns1123_subdomain, found)
        if spec.get("nodeName"):
            told = "may not be set on pods that are already bound to a node"
            found.append(causes.forbidden(where, told))
    if (status.get("observedGeneration") or 0) < 0:
        told = "must be a non-negative integer"
        found.append(causes.invalid("status.observedGeneration", status["observedGeneration"], told))
    if (status.get("qosClass") or "") != (before.get("qosClass") or ""):
        found.append(causes.invalid("status.qosClass", status.get("qosClass") or "", causes.FIELD_IMMUTABLE))
    for key in _STATUS_LISTS:
        _transitions(status.get(key) or (), before.get(key) or (), key, spec, found)
    _claim_statuses(status.get("resourceClaimStatuses") or (), spec, found)
    _addresses(status, before, "podIP", "podIPs", "core.PodIP", found)
    _addresses(status, before, "hostIP", "hostIPs", "core.HostIP", found)
    for key in _STATUS_LISTS:
        _users(status.get(key) or (), f"status.{key}", spec, found)
    return found


def _conditions(conditions: Iterable[Obj], found: Found) -> None:
    for index, condition in enumerate(conditions):
        generation = condition.get("observedGeneration") or 0
        where = f"status.conditions[{index}]"
        if generation < 0:
            told = "must be a non-negative integer"
            found.append(causes.invalid(f"{where}.observedGeneration", generation, told))
        type = condition.get("type") or ""
        if type not in _SYSTEM_CONDITIONS:
            named(type, f"{where}.Type", names.check_qualified_name, found)


def _transitions(now: Iterable[Obj], then: Iterable[Obj], key: str, spec: Obj, found: Found) -> None:
    """What ended stays ended unless its restart policy says otherwise."""
    states = {one.get("name"): one.get("state") or {} for one in now}
    containers = {one.get("name"): one for one in spec.get(key.removesuffix("Statuses") + "s") or ()}
    if key != "ephemeralContainerStatuses" and _all_may_restart(spec):
        return
    for index, was in enumerate(then):
        ended = (was.get("state") or {}).get("terminated")
        name = was.get("name")
        if ended is None or name not in states or states[name].get("terminated") is not None:
            continue
        container = containers.get(name)
        lasting = key == "ephemeralContainerStatuses" or container is None
        if not lasting and _restarts(container or {}, spec, ended.get("exitCode") or 0):
            continue
        where = f"status.{key}[{index}].state"
        found.append(causes.forbidden(where, "may not be transitioned to non-terminated state"))


def _all_may_restart(spec: Obj) -> bool:
    return any(
        rule.get("action") == "RestartAllContainers"
        for kind in ("containers", "initContainers")
        for container in spec.get(kind) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _restarts(container: Obj, spec: Obj, code: int) -> bool:
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        within = code in (codes.get("values") or ())
        if within == (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _claim_statuses(statuses: Iterable[Obj], spec: Obj, found: Found) -> None:
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    taken: set[str] = set()
    for index, status in enumerate(statuses):
        where, name = f"status.resourceClaimStatuses[{index}]", status.get("name") or ""
        if name not in known:
            told = "must match the name of an entry in `spec.resourceClaims`"
            found.append(causes.invalid(f"{where}.name", name, told))
        if name in taken:
            found.append(causes.duplicate(f"{where}.name", name))
        taken.add(name)
        claim = status.get("resourceClaimName")
        if claim is not None:
            named(claim, f"{where}.resourceClaimName", names.check_dns1123_subdomain, found)


def _addresses(status: Obj, before: Obj, one: str, many: str, type: str, found: Found) -> None:
    first, listed = status.get(one) or "", status.get(many) or []
    where = f"status.{many}"
    texts = [address.get("ip") or "" for address in listed]
    if one == "hostIP":
        if not texts:
            return
        if texts[0] != first:
            found.append(causes.invalid(f"{where}[0].ip", texts[0], "must be equal to `hostIP`"))
    known = [address.get("ip") for address in before.get(many) or ()]
    for index, text in enumerate(texts):
        ip_address(text, f"{where}[{index}]", found, known)
    if len(texts) > 1 and (len(texts) > 2 or not dual_stack(texts)):
        told = "may specify no more than one IP for each IP family"
        found.append(causes.invalid(where, go_value(type, listed), told))
    if one == "hostIP":
        return
    if bool(first) != bool(texts):
        told = "podIP and podIPs must either both be set or both be unset"
        shown: Any = go_value(type, status.get(many))
        found.append(causes.invalid(where, shown, told))
    elif texts and first != texts[0]:
        found.append(causes.invalid(f"{where}[0].ip", texts[0], "must be equal to `podIP`"))


def _users(statuses: Iterable[Obj], path: str, spec: Obj, found: Found) -> None:
    windows = (spec.get("os") or {}).get("name") == "windows"
    for index, status in enumerate(statuses):
        user = (status.get("user") or {}).get("linux")
        if user is None:
            continue
        where = f"{path}[{index}].user.linux"
        if windows:
            found.append(causes.forbidden(where, "cannot be set for a windows pod"))
            continue
        uid = user.get("uid") or 0
        if not 0 <= uid <= _MAX_UINT32:
            told = f"must be between 0 and {_MAX_UINT32}, inclusive"
            found.append(causes.invalid(f"{where}.uid", uid, told))
        id_number(user.get("gid"), f"{where}.gid", found)
        for number, group in enumerate(user.get("supplementalGroups") or ()):
            id_number(group, f"{where}.supplementalGroups[{number}]", found)
