"""Scripts of what happens to workloads, played on any cluster, and what can be seen of it in words that two clusters
have in common.

A script is a list of steps. Each step does one thing (``create``, ``patch``, ``delete``, ``pods``, ``end``,
``evict``, ``bind``, ``wait``), then the controllers have ``PAUSE`` seconds; ``look`` names the resources to be seen
afterwards. Nothing runs the pods but the steps: ``pods`` writes the status of some of them, ``end`` takes
away those that are being deleted, as a node would. ``times`` creates an object more than once; ``$i`` in an object or a
status is its number.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Obj = dict[str, Any]

PAUSE = 2.5
NAMESPACE = "zzns"
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
"""The alphabet of generated names and hashes."""
_GENERATED = re.compile(rf"-{_SAFE}{{5}}(?![\w-])")
_HASH = re.compile(rf"(?<![\w]){_SAFE}{{8,10}}(?![\w])")
_UID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|(?=[+-]\d\d:\d\d))")
_SCHEDULED = re.compile(r"-\d{8}(?!\w)")
_REVISION = re.compile(r'"resourceVersion": "\d+"')
_NOT_SEEN = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generateName",
    "selfLink",
    "namespace",
)
_SPEC_SEEN = {"replicasets", "pods", "persistentvolumeclaims", "persistentvolumes"}
_SPEC_KEYS = (
    "replicas",
    "nodeName",
    "hostname",
    "subdomain",
    "affinity",
    "resources",
    "volumeName",
    "claimRef",
    "persistentVolumeReclaimPolicy",
)
_WHOLE = {"endpoints": ("subsets",), "endpointslices": ("addressType", "ports", "endpoints")}
"""What is seen of kinds that have neither spec nor status."""
_MANY = 20
"""Endpoints of one slice, above which only their number is seen: in which slice each is, is nobody's rule."""
READY = {
    "phase": "Running",
    "conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "$now"},
        {"type": "ContainersReady", "status": "True", "lastTransitionTime": "$now"},
    ],
}


class World(Protocol):
    """A cluster with a namespace of its own for the script."""

    namespace: str

    def create(self, obj: Obj) -> str:
        """The refusal, if there is one."""

    def patch(self, resource: str, name: str, patch: Any, type: str, subresource: str) -> str: ...

    def delete(self, resource: str, name: str, propagation: str | None, grace: int | None) -> str: ...

    def evict(self, name: str) -> str: ...

    def bind(self, name: str, node: str) -> str: ...

    def list(self, resource: str) -> Sequence[Obj]: ...

    def pause(self, seconds: float) -> None: ...

    def now(self) -> str:
        """RFC 3339, in whole seconds."""

    def until_second(self, second: int) -> float:
        """Seconds until the next minute's ``second``."""


def play(world: World, steps: Sequence[Obj]) -> list[Any]:
    """What is seen, step by step; None for steps that do not look."""
    return [_step(world, step) for step in steps]


def _step(world: World, step: Obj) -> Any:
    # A pod that a controller took away meanwhile is no answer.
    refusals = [text for text in _do(world, step) if text and not text.startswith("404")]
    world.pause(step.get("wait", PAUSE) if "at" not in step else world.until_second(step["at"]))
    if "look" not in step and not refusals:
        return None
    seen: Obj = {resource: look(world, resource) for resource in step.get("look", ())}
    if refusals:
        seen["refusals"] = [_masked(text, world.namespace) for text in refusals]
    return seen


def _do(world: World, step: Obj) -> list[str]:
    if "create" in step:
        made = step["create"] if isinstance(step["create"], list) else [step["create"]]
        first, times = step.get("from", 1), step.get("times", 1)
        return [
            world.create(_numbered(obj, number)) for obj in made for number in range(first, first + times)
        ]
    if "patch" in step:
        resource, name = step["patch"]
        how = step.get("as", "merge"), step.get("of", "")
        wanted = _timed(world, step["with"])
        return [world.patch(resource, each, wanted, *how) for each in _names(world, resource, name)]
    if "delete" in step:
        resource, name = step["delete"]
        how = step.get("propagation"), None
        return [world.delete(resource, each, *how) for each in _names(world, resource, name)]
    if "pods" in step:
        chosen = [pod for pod in _chosen(world, step["pods"]) if _is_live(pod)][: step.get("take", 1000)]
        status = _timed(world, step["status"])
        return [
            world.patch(
                "pods", pod["metadata"]["name"], {"status": _numbered(status, number)}, "merge", "status"
            )
            for number, pod in enumerate(chosen, step.get("from", 1))
        ]
    if "remove" in step:
        chosen = [pod for pod in _chosen(world, step["remove"]) if _is_live(pod)][: step.get("take", 1000)]
        return [world.delete("pods", pod["metadata"]["name"], None, None) for pod in chosen]
    if "end" in step:
        chosen = [pod for pod in _chosen(world, step["end"]) if "deletionTimestamp" in pod["metadata"]]
        return [world.delete("pods", pod["metadata"]["name"], None, 0) for pod in chosen]
    if "bind" in step:
        chosen = [pod for pod in _chosen(world, step["bind"]) if "nodeName" not in pod["spec"]]
        return [world.bind(pod["metadata"]["name"], _meant_for(pod)) for pod in chosen]
    if "evict" in step:
        chosen = [pod for pod in _chosen(world, step["evict"]) if "deletionTimestamp" not in pod["metadata"]]
        return [world.evict(pod["metadata"]["name"]) for pod in chosen[: step.get("take", 1)]]
    return []


def _names(world: World, resource: str, name: str) -> list[str]:
    return [each["metadata"]["name"] for each in world.list(resource)] if name == "*" else [name]


def _meant_for(pod: Obj) -> str:
    """The node that a daemon's affinity names."""
    (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    name: str = term["matchFields"][0]["values"][0]
    return name


def _timed(world: World, obj: Obj) -> Obj:
    timed: Obj = json.loads(json.dumps(obj).replace("$now", world.now()))
    return timed


def _numbered(obj: Obj, number: int) -> Obj:
    numbered: Obj = json.loads(json.dumps(obj).replace("$i", str(number)))
    return numbered


def _is_live(pod: Obj) -> bool:
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not ended and "deletionTimestamp" not in pod["metadata"]


def _chosen(world: World, wanted: Mapping[str, str]) -> list[Obj]:
    """Pods with these labels, or names, or phase, in an order that two clusters share as far as they can."""

    def fits(pod: Obj) -> bool:
        labels = pod["metadata"].get("labels") or {}
        facts = {**labels, "name": pod["metadata"]["name"], "phase": pod.get("status", {}).get("phase", "")}
        facts["node"] = pod["spec"].get("nodeName", "")
        facts["ready"] = str(
            any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in pod.get("status", {}).get("conditions") or ()
            )
        )
        return all(facts.get(key) == value for key, value in wanted.items())

    return sorted(
        filter(fits, world.list("pods")), key=lambda pod: json.dumps(_brief(pod, "pods", ""), sort_keys=True)
    )


def look(world: World, resource: str) -> list[Any]:
    if resource == "tolerations":
        return [pod["spec"].get("tolerations") for pod in _chosen(world, {})]
    if resource in ("happened", "happened.all"):
        # How often hangs on how often the controller looked.
        told = _events(world.list("events"), world.namespace, claims=resource == "happened.all")
        return sorted({line.partition(" ")[2] for line in told})
    found = world.list(resource)
    if resource == "events":
        return _events(found, world.namespace)
    told = Counter(json.dumps(_brief(obj, resource, world.namespace), sort_keys=True) for obj in found)
    return [{"count": count, **json.loads(text)} for text, count in sorted(told.items())]


def _events(found: Sequence[Obj], namespace: str, *, claims: bool = False) -> list[str]:
    told: Counter[str] = Counter()
    for event in found:
        about = event["involvedObject"]
        if about["kind"] == "PersistentVolumeClaim" and not claims:
            # Whether there is a storage class is the cluster's own affair.
            continue
        line = (
            f"{about['kind']} {about['name']} {event['type']} {event['reason']}: {event.get('message', '')}"
        )
        told[_masked(f"[{event.get('source', {}).get('component', '')}] {line}", namespace)] += (
            event.get("count") or 1
        )
    return sorted(f"{count}x {line}" for line, count in told.items())


def _brief(obj: Obj, resource: str, namespace: str) -> Obj:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _NOT_SEEN}
    metadata.pop("generation", None)
    owners = metadata.get("ownerReferences")
    if owners:
        metadata["ownerReferences"] = [
            {key: value for key, value in owner.items() if key != "uid"} for owner in owners
        ]
    kept: Obj = {"metadata": metadata}
    if resource in _SPEC_SEEN:
        spec = obj.get("spec") or {}
        kept["spec"] = {key: spec[key] for key in _SPEC_KEYS if spec.get(key) is not None}
    # A null is written by one and left out by the other.
    status = {key: value for key, value in (obj.get("status") or {}).items() if value is not None}
    if resource == "pods":
        status = {key: value for key, value in status.items() if key in ("phase", "reason", "message")}
        status["conditions"] = sorted(
            f"{c['type']}={c['status']} {c.get('reason', '')} {c.get('message', '')}".strip()
            for c in (obj.get("status") or {}).get("conditions") or ()
        )
    kept["status"] = status
    for key in _WHOLE.get(resource, ()):
        kept[key] = obj.get(key)
    if resource in _WHOLE:
        del kept["status"]
    if resource == "endpoints":
        # Their order hangs on the uids of the pods.
        kept["subsets"] = sorted(obj.get("subsets") or [], key=lambda each: json.dumps(each.get("ports", [])))
    if resource == "endpointslices":
        kept["endpoints"] = _endpoints(obj.get("endpoints") or [])
    if resource == "controllerrevisions":
        kept["revision"] = obj.get("revision")
        kept["data"] = obj.get("data")
    masked: Obj = json.loads(_masked(json.dumps(kept), namespace))
    return masked


def _endpoints(found: Sequence[Obj]) -> Any:
    if len(found) > _MANY:
        ready = sum(bool(endpoint["conditions"].get("ready")) for endpoint in found)
        return f"{ready} of {len(found)} ready"
    return sorted(found, key=lambda endpoint: json.dumps(endpoint, sort_keys=True))


def _masked(text: str, namespace: str) -> str:
    if namespace:
        text = text.replace(namespace, "NS")
    text = _UID.sub("UID", text)
    text = _TIME.sub("TIME", text)
    text = _REVISION.sub('"resourceVersion": "RV"', text)
    text = _SCHEDULED.sub("-MINUTE", text)
    text = _GENERATED.sub("-~", text)
    return _HASH.sub("#", text)
