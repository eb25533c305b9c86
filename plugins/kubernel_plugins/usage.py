"""What objects use of a ResourceQuota, and what pods ask for in all.

Source: k8s.io/kubernetes/pkg/quota/v1/evaluator/core and k8s.io/component-helpers/resource (v1.37).
Amounts are texts of quantities; sums keep their format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, quantity, times

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "COMPUTE",
    "Amounts",
    "applies",
    "compute_usage",
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
    if group:
        return found
    spec = obj.get("spec") or {}
    if plural == "pods":
        if _is_over(obj, now):
            return found
        found |= compute_usage(pod_totals(spec, "requests"), pod_totals(spec, "limits"))
    elif plural == "services":
        found |= _service(spec)
    elif plural == "persistentvolumeclaims":
        found |= _claim(obj)
    if plural in _CORE:
        found[plural] = "1"
    return found


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
    found = {"requests.storage": storage}
    name = meta.get(claim, "spec", "storageClassName") or meta.annotations(claim).get(
        "volume.beta.kubernetes.io/storage-class"
    )
    if name:
        found[f"{name}{_STORAGE_CLASS}requests.storage"] = storage
        found[f"{name}{_STORAGE_CLASS}persistentvolumeclaims"] = "1"
    return found


def applies(quota: Obj, plural: str, group: str, obj: Obj) -> bool:
    """Whether the object is within the quota's scopes; only pods are in any."""
    spec = quota.get("spec") or {}
    wanted = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    wanted += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not wanted:
        return True
    return plural == "pods" and not group and all(_in_scope(each, obj) for each in wanted)


def _in_scope(wanted: Mapping[str, Any], pod: Obj) -> bool:
    scope = wanted["scopeName"]
    spec = pod.get("spec") or {}
    if scope in ("Terminating", "NotTerminating"):
        return bool((spec.get("activeDeadlineSeconds") is not None) == (scope == "Terminating"))
    if scope in ("BestEffort", "NotBestEffort"):
        return bool(_is_best_effort(spec) == (scope == "BestEffort"))
    if scope == "CrossNamespacePodAffinity":
        return _reaches_other_namespaces(spec)
    if scope == "PriorityClass":
        name, values = spec.get("priorityClassName") or "", wanted.get("values") or ()
        operator = wanted.get("operator", "Exists")
        if operator == "In":
            return name in values
        if operator == "NotIn":
            return name not in values
        return bool(bool(name) == (operator == "Exists"))
    return False


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
