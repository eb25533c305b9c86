"""Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers and pod templates.

Source: pkg/apis/apps/{v1/defaults.go,validation} and pkg/registry/apps (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.objects import selectors
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field, immutable
from kubernel_plugins.api.builtin.strategies.templates import (
    default_template,
    not_negative,
    percent_or_count,
    validate_selector,
    validate_template,
)

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = [
    "DaemonSetStrategy",
    "DeploymentStrategy",
    "PodTemplateStrategy",
    "ReplicaSetStrategy",
    "ReplicationControllerStrategy",
    "StatefulSetStrategy",
]

_STATEFUL_SET_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def _zero_percent(value: Any) -> bool:
    return value in (0, "0%")


class _Templated(Builtin):
    """A selector over pods made from ``spec.template``."""

    noun = ""

    def __init__(self) -> None:
        super().__init__(generation=True)

    def default(self, obj: Obj) -> None:
        default_template(field(obj, "spec", "template"))

    def pod_template(self, spec: Obj) -> Obj:
        """The template as its pods will have it."""
        template: Obj = spec.get("template") or {}
        return template

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        found = not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
        found += validate_selector(spec, "spec", self.noun)
        found += validate_template(self.pod_template(spec), "spec.template")
        if field(spec, "template", "spec", "activeDeadlineSeconds") is not None:
            found.append(
                causes.forbidden(
                    "spec.template.spec.activeDeadlineSeconds",
                    f"activeDeadlineSeconds in {obj.get('kind')} is not Supported",
                )
            )
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            status = obj.get("status") or {}
            counts = [key for key, value in status.items() if isinstance(value, int)]
            return not_negative(status, "status", *counts)
        return self.validate_create(request, obj) + immutable(obj, old, "spec.selector")


class DeploymentStrategy(_Templated):
    noun = "deployment"

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
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
        found = super().validate_create(request, obj)
        spec = obj.get("spec") or {}
        strategy = spec.get("strategy") or {}
        rolling = strategy.get("rollingUpdate")
        if strategy.get("type") == "Recreate" and rolling is not None:
            found.append(
                causes.forbidden(
                    "spec.strategy.rollingUpdate",
                    "may not be specified when strategy `type` is 'Recreate'",
                )
            )
        elif rolling is not None:
            found += percent_or_count(
                rolling.get("maxUnavailable"), "spec.strategy.rollingUpdate.maxUnavailable"
            )
            found += percent_or_count(rolling.get("maxSurge"), "spec.strategy.rollingUpdate.maxSurge")
            if _zero_percent(rolling.get("maxUnavailable")) and _zero_percent(rolling.get("maxSurge")):
                found.append(
                    causes.invalid(
                        "spec.strategy.rollingUpdate.maxUnavailable",
                        rolling["maxUnavailable"],
                        "may not be 0 when `maxSurge` is 0",
                    )
                )
        deadline = spec.get("progressDeadlineSeconds")
        if deadline is not None:
            found += not_negative(spec, "spec", "progressDeadlineSeconds")
            if deadline <= (spec.get("minReadySeconds") or 0):
                found.append(
                    causes.invalid(
                        "spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"
                    )
                )
        return found


class ReplicaSetStrategy(_Templated):
    # Upstream's message names the deployment here, too.
    noun = "deployment"

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"replicas": 0}


def _default_update_strategy(spec: Obj, rolling: dict[str, int]) -> None:
    update = spec.setdefault("updateStrategy", {})
    if not isinstance(update, dict):
        return
    if not update.get("type"):
        update["type"] = "RollingUpdate"
    if update["type"] == "RollingUpdate":
        given = update.setdefault("rollingUpdate", {})
        if isinstance(given, dict):
            for name, value in rolling.items():
                given.setdefault(name, value)


class StatefulSetStrategy(_Templated):
    noun = "statefulset"

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        _default_update_strategy(spec, {"partition": 0})
        for claim in spec.get("volumeClaimTemplates") or ():
            if isinstance(claim, dict):
                claim.setdefault("kind", "PersistentVolumeClaim")
                claim.setdefault("apiVersion", "v1")
                if isinstance(claim.get("spec"), dict):
                    claim["spec"].setdefault("volumeMode", "Filesystem")
                claim.setdefault("status", {}).setdefault("phase", "Pending")

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"replicas": 0, "availableReplicas": 0}

    def pod_template(self, spec: Obj) -> Obj:
        template = super().pod_template(spec)
        names = [field(claim, "metadata", "name") for claim in spec.get("volumeClaimTemplates") or ()]
        if not names or not isinstance(template.get("spec"), dict):
            return template
        pod = template["spec"]
        kept = [volume for volume in pod.get("volumes") or () if volume.get("name") not in names]
        claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]
        return {**template, "spec": {**pod, "volumes": [*kept, *claimed]}}

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return super().validate_update(request, obj, old)
        fixed = [
            {key: value for key, value in (one.get("spec") or {}).items() if key not in _STATEFUL_SET_MUTABLE}
            for one in (obj, old)
        ]
        found = self.validate_create(request, obj)
        if fixed[0] != fixed[1]:
            listed = ", ".join(f"'{key}'" for key in _STATEFUL_SET_MUTABLE[:-1])
            found.append(
                causes.forbidden(
                    "spec",
                    f"updates to statefulset spec for fields other than {listed} and "
                    f"'{_STATEFUL_SET_MUTABLE[-1]}' are forbidden",
                )
            )
        return found


class DaemonSetStrategy(_Templated):
    noun = "daemonset"

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        _default_update_strategy(spec, {"maxUnavailable": 1, "maxSurge": 0})

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return dict.fromkeys(
            ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
        )


class ReplicationControllerStrategy(Builtin):
    """The selector is a plain map here, and defaults to the template's labels."""

    def __init__(self) -> None:
        super().__init__(generation=True, propagation="Orphan")

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

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"replicas": 0}

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        found = not_negative(spec, "spec", "replicas", "minReadySeconds")
        selector = spec.get("selector")
        if not selector:
            found.append(causes.required("spec.selector"))
        template = spec.get("template")
        if template is None:
            return [*found, causes.required("spec.template")]
        labels = field(template, "metadata", "labels") or {}
        if selector and not selectors.from_labels(selector).matches(labels):
            found.append(
                causes.invalid(
                    "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
                )
            )
        return found + validate_template(template, "spec.template")

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return [] if request.subresource == "status" else self.validate_create(request, obj)


class PodTemplateStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, returns=True)

    def default(self, obj: Obj) -> None:
        default_template(obj.get("template"))

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        restart = ("Always", "OnFailure", "Never")
        return validate_template(obj.get("template") or {}, "template", restart=restart)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self.validate_create(request, obj)
