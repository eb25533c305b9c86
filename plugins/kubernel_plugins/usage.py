"""What objects use of a ResourceQuota, and what pods ask for in all.

Source: k8s.io/kubernetes/pkg/quota/v1/evaluator/core and k8s.io/component-helpers/resource (v1.37).
Amounts are texts of quantities; sums keep their format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, quantity, times
from kubernel_plugins.volumes import attributes_classes

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "COMPUTE",
    "DEVICE_CLAIMS",
    "DEVICE_CLASSES",
    "Amounts",
    "applies",
    "as_extended",
    "compute_usage",
    "extended_names",
    "is_claim_of",
    "kinds_of",
    "pod_of_extended",
    "pod_totals",
    "total",
    "tracked",
    "usage",
]

Amounts = Mapping[str, str]

COMPUTE = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
"""What every container has to state where a quota limits it."""

_CORE = frozenset(
    (
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
    )
)
_STORAGE_CLASS = ".storageclass.storage.k8s.io/"
_DEVICE_CLASS = ".deviceclass.resource.k8s.io/devices"
DEVICE_CLAIMS = ("resourceclaims", "resource.k8s.io")
DEVICE_CLASSES = "deviceclasses.v1.resource.k8s.io"
_IMPLICIT = "requests.deviceclass.resource.kubernetes.io/"
_EXTENDED_CLAIM = "resource.kubernetes.io/extended-resource-claim"
_MOST_DEVICES = 32
"""Most devices of one claim: what a request for all that fit counts for."""
_PLAIN = frozenset(("cpu", "memory", "ephemeral-storage"))


def tracked(name: str) -> tuple[str, str] | None:
    """(plural, group) of the objects that a quota's resource name counts; None for one nobody knows."""
    if name.startswith("count/"):
        plural, _, group = name.removeprefix("count/").partition(".")
        return plural, group
    if name in _CORE:
        return name, ""
    if name.startswith("services."):
        return "services", ""
    if name == "requests.storage" or _STORAGE_CLASS in name:
        return "persistentvolumeclaims", ""
    if name.endswith(_DEVICE_CLASS):
        return DEVICE_CLAIMS
    if name in COMPUTE or name.startswith(("requests.", "limits.", "hugepages-")) or name in _PLAIN:
        return "pods", ""
    return None


def total(amounts: Iterable[Amounts]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in amounts:
        for name, value in each.items():
            found[name] = quantity.add(found[name], value) if name in found else quantity.canonical(value)
    return found


def _larger(first: Amounts, second: Amounts) -> dict[str, str]:
    found = dict(first)
    for name, value in second.items():
        if name not in found or quantity.parse(value) > quantity.parse(found[name]):
            found[name] = value
    return found


def pod_totals(spec: Mapping[str, Any], kind: str) -> dict[str, str]:
    """A pod's ``requests`` or ``limits`` as a whole: containers and sidecars together, or an init container
    that needs more, and the overhead of the runtime; what the pod itself states comes first."""

    def of(container: Mapping[str, Any]) -> Amounts:
        return (container.get("resources") or {}).get(kind) or {}

    running: list[Amounts] = [of(container) for container in spec.get("containers") or ()]
    sidecars: dict[str, str] = {}
    peak: dict[str, str] = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            sidecars = total((sidecars, of(container)))
            peak = _larger(peak, sidecars)
        else:
            peak = _larger(peak, total((sidecars, of(container))))
    found = _larger(total((*running, sidecars)), peak)
    own = (spec.get("resources") or {}).get(kind) or {}
    found |= {name: quantity.canonical(value) for name, value in own.items()}
    overhead: Amounts = spec.get("overhead") or {}
    if kind == "limits":
        overhead = {name: value for name, value in overhead.items() if name in found}
    return total((found, overhead))


def compute_usage(requests: Amounts, limits: Amounts) -> dict[str, str]:
    """Requests and limits under the names that quotas have for them."""
    found: dict[str, str] = {}
    for name, value in requests.items():
        if name in _PLAIN or name.startswith("hugepages-"):
            found[name] = found[f"requests.{name}"] = value
        elif "/" in name:
            found[f"requests.{name}"] = value
    for name, value in limits.items():
        if name in _PLAIN:
            found[f"limits.{name}"] = value
    return found


def usage(plural: str, group: str, obj: Obj, now: float) -> dict[str, str]:
    """Everything this object counts for."""
    found = {f"count/{plural}.{group}" if group else f"count/{plural}": "1"}
    if (plural, group) == DEVICE_CLAIMS:
        return found | _devices(obj)
    if group:
        return found
    spec = obj.get("spec") or {}
    if plural == "pods":
        if _is_over(obj, now):
            return found
        found |= compute_usage(_charged(obj, "requests"), _charged(obj, "limits"))
    elif plural == "services":
        found |= _service(spec)
    elif plural == "persistentvolumeclaims":
        found |= _claim(obj)
    if plural in _CORE:
        found[plural] = "1"
    return found


def _charged(pod: Obj, kind: str) -> dict[str, str]:
    """While a pod is resized, the largest of what it asks for, what it was granted and what it has; no longer what it
    asks for once that cannot be."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    asked = pod_totals(spec, kind)
    told = {
        each["name"]: each
        for part in ("containerStatuses", "initContainerStatuses")
        for each in status.get(part) or ()
        if each.get("allocatedResources") is not None or each.get("resources") is not None
    }
    if not told:
        return asked
    pending = next(
        (each for each in status.get("conditions") or () if each["type"] == "PodResizePending"), None
    )
    infeasible = pending is not None and pending.get("reason") == "Infeasible"

    def seen(container: Mapping[str, Any], granted_only: bool) -> Mapping[str, Any]:
        each = told.get(container["name"], {})
        granted = each.get("allocatedResources") if kind == "requests" else None
        has = None if granted_only else (each.get("resources") or {}).get(kind)
        amounts = has if has is not None else granted
        if amounts is None:
            amounts = {} if infeasible else (container.get("resources") or {}).get(kind) or {}
        return {**container, "resources": {kind: amounts}}

    def totals(granted_only: bool) -> dict[str, str]:
        parts = {
            part: [seen(container, granted_only) for container in spec.get(part) or ()]
            for part in ("containers", "initContainers")
        }
        return pod_totals({**spec, **parts}, kind)

    found = totals(granted_only=False)
    if kind == "requests":
        found = _larger(found, totals(granted_only=True))
    return found if infeasible else _larger(asked, found)


def _devices(claim: Obj) -> dict[str, str]:
    """Devices by class; of what a request would also take, the most of each class."""
    counts: Counter[str] = Counter()
    for request in meta.get(claim, "spec", "devices", "requests", default=()):
        if request.get("firstAvailable"):
            most: Counter[str] = Counter()
            for each in request["firstAvailable"]:
                most[each["deviceClassName"]] = max(most[each["deviceClassName"]], _device_count(each))
            counts += most
        elif request.get("exactly"):
            counts[request["exactly"]["deviceClassName"]] += _device_count(request["exactly"])
    return {f"{name}{_DEVICE_CLASS}": str(count) for name, count in counts.items()}


def extended_names(classes: Iterable[Obj]) -> dict[str, str]:
    """DeviceClasses by name -> the extended resource that each stands for."""
    return {
        meta.name(one): name for one in classes if (name := meta.get(one, "spec", "extendedResourceName"))
    }


def kinds_of(name: str, extended: Mapping[str, str]) -> list[tuple[str, str]]:
    """(plural, group) of all objects that a quota's resource name counts: claims of devices count for extended
    resources too, where a class stands for one."""
    kind = tracked(name)
    found = [kind] if kind is not None else []
    if name.startswith(_IMPLICIT):
        by_devices = name.removeprefix(_IMPLICIT) in extended
    else:
        by_devices = name.startswith("requests.") and name.removeprefix("requests.") in extended.values()
    return [*found, DEVICE_CLAIMS] if by_devices else found


def as_extended(claimed: Amounts, extended: Mapping[str, str], counted: Amounts) -> dict[str, str]:
    """What a claim's devices count for as extended resources, but for what its pod is ``counted`` for."""
    found: dict[str, str] = {}
    for key, value in claimed.items():
        name = key.removesuffix(_DEVICE_CLASS)
        if name == key:
            continue
        names = [f"{_IMPLICIT}{name}"]
        if name in extended:
            names.append(f"requests.{extended[name]}")
        for each in names:
            left = quantity.subtract(value, counted.get(each, "0"))
            if quantity.parse(left) > 0:
                found[each] = left
    return found


def pod_of_extended(claim: Obj) -> tuple[str, str] | None:
    """(name, uid) of the pod for whose extended resources the scheduler made a claim."""
    owner = meta.controller_of(claim)
    if meta.annotations(claim).get(_EXTENDED_CLAIM) != "true" or owner is None:
        return None
    return (owner["name"], owner["uid"]) if owner["kind"] == "Pod" else None


def is_claim_of(pod: Obj, claim: Obj) -> bool:
    """Whether the pod says that this is the claim of its extended resources, or names none yet."""
    owner = pod_of_extended(claim)
    named = meta.get(pod, "status", "extendedResourceClaimStatus", "resourceClaimName")
    return owner == (meta.name(pod), meta.uid(pod)) and named in (None, meta.name(claim))


def _device_count(request: Mapping[str, Any]) -> int:
    mode = request.get("allocationMode", "ExactCount")
    if mode == "All":
        return _MOST_DEVICES
    return int(request.get("count", 1)) if mode == "ExactCount" else 0


def _is_over(pod: Obj, now: float) -> bool:
    """Ended, or past the time at which it should have."""
    if meta.get(pod, "status", "phase") in ("Succeeded", "Failed"):
        return True
    metadata = pod["metadata"]
    deleted, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    return bool(deleted) and grace is not None and now > times.parse(deleted) + grace


def _service(spec: Mapping[str, Any]) -> dict[str, str]:
    ports = spec.get("ports") or ()
    node_ports = balancers = 0
    if spec.get("type") == "NodePort":
        node_ports = len(ports)
    elif spec.get("type") == "LoadBalancer":
        balancers = 1
        if spec.get("allocateLoadBalancerNodePorts") is False:
            node_ports = sum(bool(port.get("nodePort")) for port in ports)
        else:
            node_ports = len(ports)
    return {"services.nodeports": str(node_ports), "services.loadbalancers": str(balancers)}


def _claim(claim: Obj) -> dict[str, str]:
    requested = meta.get(claim, "spec", "resources", "requests", "storage", default="0")
    given = meta.get(claim, "status", "allocatedResources", "storage", default="0")
    storage = max(requested, given, key=quantity.parse)
    if quantity.parse(storage) != quantity.to_int(storage):
        storage = str(quantity.to_int(storage))
    found = {"requests.storage": storage}
    name = meta.get(claim, "spec", "storageClassName") or meta.annotations(claim).get(
        "volume.beta.kubernetes.io/storage-class"
    )
    if name:
        found[f"{name}{_STORAGE_CLASS}requests.storage"] = storage
        found[f"{name}{_STORAGE_CLASS}persistentvolumeclaims"] = "1"
    return found


def applies(quota: Obj, plural: str, group: str, obj: Obj) -> bool:
    """Whether the object is within the quota's scopes; only pods and volume claims are in any."""
    spec = quota.get("spec") or {}
    wanted = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    wanted += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not wanted:
        return True
    if group or plural not in _IN_SCOPES:
        return False
    return all(_IN_SCOPES[plural](each, obj) for each in wanted)


def _is_in_scope(wanted: Mapping[str, Any], pod: Obj) -> bool:
    scope = wanted["scopeName"]
    spec = pod.get("spec") or {}
    if scope in ("Terminating", "NotTerminating"):
        return bool((spec.get("activeDeadlineSeconds") is not None) == (scope == "Terminating"))
    if scope in ("BestEffort", "NotBestEffort"):
        return bool(_is_best_effort(spec) == (scope == "BestEffort"))
    if scope == "CrossNamespacePodAffinity":
        return _reaches_other_namespaces(spec)
    if scope == "PriorityClass":
        return _is_selected(wanted, {spec.get("priorityClassName") or ""} - {""})
    return False


def _is_claim_in_scope(wanted: Mapping[str, Any], claim: Obj) -> bool:
    return wanted["scopeName"] == "VolumeAttributesClass" and _is_selected(wanted, attributes_classes(claim))


def _is_selected(wanted: Mapping[str, Any], names: set[str]) -> bool:
    """Whether one of the names is; without any, whether that is what is wanted."""
    operator, values = wanted.get("operator", "Exists"), wanted.get("values") or ()
    if operator == "In":
        return any(name in values for name in names)
    if operator == "NotIn":
        return not names or any(name not in values for name in names)
    return bool(bool(names) == (operator == "Exists"))


_IN_SCOPES = {"pods": _is_in_scope, "persistentvolumeclaims": _is_claim_in_scope}


def _is_best_effort(spec: Mapping[str, Any]) -> bool:
    stated = (
        amount
        for owner in (spec, *(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        for kind in ("requests", "limits")
        for name, amount in ((owner.get("resources") or {}).get(kind) or {}).items()
        if name in ("cpu", "memory")
    )
    return not any(quantity.parse(amount) for amount in stated)


def _reaches_other_namespaces(spec: Mapping[str, Any]) -> bool:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        found = affinity.get(kind) or {}
        terms = list(found.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        terms += [
            entry.get("podAffinityTerm") or {}
            for entry in found.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
