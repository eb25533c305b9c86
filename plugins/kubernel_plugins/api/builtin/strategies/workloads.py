"""Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers and pod templates.

Source: pkg/apis/apps/{v1/defaults.go,validation} and pkg/registry/apps (v1.37).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from kubernel_plugins.api.builtin.strategies.base import Builtin, field, immutable
from kubernel_plugins.api.builtin.strategies.templates import default_template
from kubernel_plugins.api.builtin.validation import workloads as rules
from kubernel_plugins.api.builtin.validation.pod_specs import pod_template
from kubernel_plugins.api.builtin.validation.pod_updates import lenient_as

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = [
    "ControllerRevisionStrategy",
    "DaemonSetStrategy",
    "DeploymentStrategy",
    "PodTemplateStrategy",
    "ReplicaSetStrategy",
    "ReplicationControllerStrategy",
    "StatefulSetStrategy",
]

_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
_WITHIN = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")


class _Templated(Builtin):
    """A selector over pods made from ``spec.template``."""

    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def default_spec(self, spec: Obj) -> None:
        default_template(spec.get("template"))


class DeploymentStrategy(_Templated):
    resets = MappingProxyType({"status": ("spec", "metadata.labels")})

    def default_spec(self, spec: Obj) -> None:
        super().default_spec(spec)
        strategy = spec.setdefault("strategy", {})
        if not isinstance(strategy, dict):
            return
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            if isinstance(rolling, dict):
                rolling.setdefault("maxUnavailable", "25%")
                rolling.setdefault("maxSurge", "25%")

    def changed_generation(self, obj: Obj, old: Obj) -> bool:
        # Rollbacks and revisions are written in annotations.
        return super().changed_generation(obj, old) or (
            (field(obj, "metadata", "annotations") or {}) != (field(old, "metadata", "annotations") or {})
        )

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return rules.deployment(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            counts = (
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            )
            within = ("updatedReplicas", "readyReplicas", "availableReplicas")
            return rules.counts_status(obj, old, counts, within, "readyReplicas")
        found = rules.deployment(obj, old)
        rules.immutable_selector(obj, old, found)
        return found


class ReplicaSetStrategy(_Templated):
    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return rules.replica_set(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return rules.counts_status(obj, old, (*_COUNTS, "terminatingReplicas"), _WITHIN, "readyReplicas")
        found = rules.replica_set(obj, old)
        rules.immutable_selector(obj, old, found)
        return found


def _default_update_strategy(spec: Obj, rolling: dict[str, int], *, told: bool) -> None:
    """``told``: who names the strategy has to say how it rolls, too."""
    update = spec.setdefault("updateStrategy", {})
    if not isinstance(update, dict):
        return
    silent = not update.get("type")
    if silent:
        update["type"] = "RollingUpdate"
    if update["type"] == "RollingUpdate":
        given = update.get("rollingUpdate") if told and not silent else update.setdefault("rollingUpdate", {})
        if isinstance(given, dict):
            for name, value in rolling.items():
                given.setdefault(name, value)


class StatefulSetStrategy(_Templated):
    def default_spec(self, spec: Obj) -> None:
        super().default_spec(spec)
        _default_update_strategy(spec, {"partition": 0, "maxUnavailable": 1}, told=True)
        for claim in spec.get("volumeClaimTemplates") or ():
            if isinstance(claim, dict):
                claim.setdefault("kind", "PersistentVolumeClaim")
                claim.setdefault("apiVersion", "v1")
                if isinstance(claim.get("spec"), dict):
                    claim["spec"].setdefault("volumeMode", "Filesystem")
                claim.setdefault("status", {}).setdefault("phase", "Pending")

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return rules.stateful_set(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            within = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
            counts = ("replicas", *within, "observedGeneration", "collisionCount")
            return rules.counts_status(obj, old, counts, within, "status.readyReplicas")
        return rules.stateful_set(obj, old)


_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


class DaemonSetStrategy(_Templated):
    """Counts changes of the template in an annotation: a field of versions that are gone."""

    def default(self, obj: Obj) -> None:
        # Converting to the version that has no such field writes the annotation, whatever the count.
        annotations = obj["metadata"].setdefault("annotations", {})
        annotations.setdefault(_TEMPLATE_GENERATION, "0")

    def spec_apart(self) -> bool:
        return True

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        annotations = obj["metadata"]["annotations"]
        if annotations[_TEMPLATE_GENERATION] in ("", "0"):
            annotations[_TEMPLATE_GENERATION] = "1"

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        told = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION) or "0"
        count = int(told) if told.isascii() and told.isdigit() else 0
        if not request.subresource and obj["spec"].get("template") != old["spec"].get("template"):
            count += 1
        if count:
            obj["metadata"]["annotations"] = {
                **(obj["metadata"].get("annotations") or {}),
                _TEMPLATE_GENERATION: str(count),
            }

    def default_spec(self, spec: Obj) -> None:
        super().default_spec(spec)
        _default_update_strategy(spec, {"maxUnavailable": 1, "maxSurge": 0}, told=False)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return rules.daemon_set(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            counts = (
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            )
            return rules.counts_status(obj, old, counts)
        return rules.daemon_set(obj, old)


class ControllerRevisionStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return rules.controller_revision(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found: list[Cause] = []
        rules.revision_number(obj, found)
        return found + immutable(obj, old, "data")


class ReplicationControllerStrategy(Builtin):
    """The selector is a plain map here, and defaults to the template's labels."""

    def __init__(self) -> None:
        super().__init__(generation=True, propagation="Orphan", thorough=True)

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        default_template(spec.get("template"))
        labels = field(spec, "template", "metadata", "labels")
        if labels:
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            if not obj["metadata"].get("labels"):
                obj["metadata"]["labels"] = dict(labels)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return rules.replication_controller(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return rules.counts_status(obj, old, _COUNTS, _WITHIN, "readyReplicas")
        return rules.replication_controller(obj, old)


class PodTemplateStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, returns=True, thorough=True)

    def default(self, obj: Obj) -> None:
        default_template(obj.get("template"))

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        pod_template(obj.get("template") or {}, "template", found)
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        before = old.get("template") or {}
        lenient = lenient_as(before.get("spec") or {}, before.get("metadata") or {})
        found: list[Cause] = []
        pod_template(obj.get("template") or {}, "template", found, lenient)
        return found
