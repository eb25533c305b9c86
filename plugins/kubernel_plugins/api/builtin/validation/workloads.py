"""Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers and ControllerRevisions.

Source: pkg/apis/apps/validation, ValidateReplicationController of pkg/apis/core/validation (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernel.objects import names, selectors
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation import values
from kubernel_plugins.api.builtin.validation.claims import claim_spec
from kubernel_plugins.api.builtin.validation.internal import go_equal, go_value
from kubernel_plugins.api.builtin.validation.pod_specs import Lenient, pod_template
from kubernel_plugins.api.builtin.validation.pod_updates import lenient_as
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    label_selector,
    named,
    not_negative,
    percent_or_count,
    selector_value,
)

__all__ = [
    "controller_revision",
    "counts_status",
    "daemon_set",
    "deployment",
    "immutable_selector",
    "replica_set",
    "replication_controller",
    "revision_number",
    "stateful_set",
    "template_of",
]

_NO_MATCH = "`selector` does not match template `labels`"
_ABOVE = "cannot be greater than status.replicas"


def template_of(obj: Obj) -> Obj:
    return (obj.get("spec") or {}).get("template") or {}


def lenient_template(old: Obj | None) -> Lenient:
    if old is None:
        return Lenient()
    template = template_of(old)
    return lenient_as(template.get("spec") or {}, template.get("metadata") or {})


def immutable_selector(obj: Obj, old: Obj, found: Found) -> None:
    new, before = obj["spec"].get("selector"), old["spec"].get("selector")
    if new != before:
        found.append(causes.invalid("spec.selector", selector_value(new), causes.FIELD_IMMUTABLE))


def _labels(template: Obj) -> Mapping[str, str] | None:
    labels: Mapping[str, str] | None = (template.get("metadata") or {}).get("labels")
    return labels


def _selects(selector: Obj | None, template: Obj) -> bool | None:
    """None for a selector that cannot be read."""
    if selector is None:
        return False  # it selects nothing
    try:
        return selectors.from_object(selector).matches(_labels(template) or {})
    except ValueError:
        return None


def _selecting(selector: Obj | None) -> bool:
    """Whether it leaves any pod out."""
    return selector is None or bool(selector.get("matchLabels") or selector.get("matchExpressions"))


def _sorted(labels: Mapping[str, str] | None) -> Any:
    return None if labels is None else {key: labels[key] for key in sorted(labels)}


def _mismatch(template: Obj, path: str, found: Found) -> None:
    where = f"{path}.template.metadata.labels"
    found.append(causes.invalid(where, _sorted(_labels(template)), _NO_MATCH))


def _always_running(template: Obj, kind: str, path: str, found: Found) -> None:
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        where = f"{path}.template.spec.restartPolicy"
        found.append(causes.not_supported(where, spec.get("restartPolicy") or "", ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        told = f"activeDeadlineSeconds in {kind} is not Supported"
        found.append(causes.forbidden(f"{path}.template.spec.activeDeadlineSeconds", told))


def _selector(spec: Obj, noun: str, unreadable: str, found: Found) -> bool:
    """Required, well formed and not empty; whether it can be used."""
    selector = spec.get("selector")
    if selector is None:
        found.append(causes.required("spec.selector"))
        return True
    label_selector(selector, "spec.selector", found)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        told = f"empty selector is invalid for {noun}"
        found.append(causes.invalid("spec.selector", selector_value(selector), told))
        return True
    if _selects(selector, spec.get("template") or {}) is None:
        found.append(causes.invalid("spec.selector", selector_value(selector), unreadable))
        return False
    return True


def _template(spec: Obj, old: Obj | None, found: Found, *, kind: str) -> None:
    template, selector = spec.get("template") or {}, spec.get("selector")
    if _selecting(selector) and not _selects(selector, template):
        _mismatch(template, "spec", found)
    pod_template(template, "spec.template", found, lenient_template(old))
    _always_running(template, kind, "spec", found)


def replica_set(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj["spec"]
    not_negative(spec, "spec", found, "replicas", "minReadySeconds")
    # Upstream's message names the deployment here, too.
    if _selector(spec, "deployment", "invalid label selector", found):
        _template(spec, old, found, kind="ReplicaSet")
    return found


def deployment(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj["spec"]
    not_negative(spec, "spec", found, "replicas")
    if _selector(spec, "deployment", "invalid label selector", found):
        _template(spec, old, found, kind="ReplicaSet")
    _deployment_strategy(spec.get("strategy") or {}, "spec.strategy", found)
    not_negative(spec, "spec", found, "minReadySeconds", "revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        not_negative(spec, "spec", found, "progressDeadlineSeconds")
        if deadline <= (spec.get("minReadySeconds") or 0):
            told = "must be greater than minReadySeconds"
            found.append(causes.invalid("spec.progressDeadlineSeconds", deadline, told))
    return found


def _number(value: Any) -> int:
    """A count, or the number of a percentage."""
    if isinstance(value, str):
        digits = value.removesuffix("%")
        return int(digits) if digits.isascii() and digits.isdigit() else 0
    return int(value or 0)


def _at_most_all(value: Any, path: str, found: Found) -> None:
    if isinstance(value, str) and value.endswith("%") and _number(value) > 100:
        found.append(causes.invalid(path, value, "must not be greater than 100%"))


def _deployment_strategy(strategy: Obj, path: str, found: Found) -> None:
    type, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if type == "Recreate":
        if rolling is not None:
            told = "may not be specified when strategy `type` is 'Recreate'"
            found.append(causes.forbidden(f"{path}.rollingUpdate", told))
    elif type == "RollingUpdate":
        where = f"{path}.rollingUpdate"
        if rolling is None:
            found.append(causes.required(where, "this should be defaulted and never be nil"))
            return
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        percent_or_count(unavailable, f"{where}.maxUnavailable", found)
        percent_or_count(surge, f"{where}.maxSurge", found)
        if not _number(unavailable) and not _number(surge):
            told = "may not be 0 when `maxSurge` is 0"
            found.append(causes.invalid(f"{where}.maxUnavailable", unavailable, told))
        _at_most_all(unavailable, f"{where}.maxUnavailable", found)
    else:
        shown = go_value("apps.DeploymentStrategy", strategy)
        found.append(causes.not_supported(path, shown, ("Recreate", "RollingUpdate")))


def daemon_set(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj["spec"]
    selector, template = spec.get("selector"), spec.get("template") or {}
    if old is not None:
        immutable_selector(obj, old, found)
    label_selector(selector, "spec.selector", found)
    if _selects(selector, template) is False:
        _mismatch(template, "spec", found)
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        told = "empty selector is invalid for daemonset"
        found.append(causes.invalid("spec.selector", selector_value(selector), told))
    pod_template(template, "spec.template", found, lenient_template(old))
    _always_running(template, "DaemonSet", "spec", found)
    not_negative(spec, "spec", found, "minReadySeconds")
    _daemon_set_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy", found)
    not_negative(spec, "spec", found, "revisionHistoryLimit")
    return found


def _daemon_set_strategy(strategy: Obj, path: str, found: Found) -> None:
    type, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if type == "OnDelete":
        return
    if type != "RollingUpdate":
        shown = go_value("apps.DaemonSetUpdateStrategy", strategy)
        found.append(causes.not_supported(path, shown, ("RollingUpdate", "OnDelete")))
        return
    where = f"{path}.rollingUpdate"
    if rolling is None:
        found.append(causes.required(where))
        return
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    percent_or_count(unavailable, f"{where}.maxUnavailable", found)
    percent_or_count(surge, f"{where}.maxSurge", found)
    _at_most_all(unavailable, f"{where}.maxUnavailable", found)
    _at_most_all(surge, f"{where}.maxSurge", found)
    if _number(unavailable) and _number(surge):
        told = "may not be set when maxUnavailable is non-zero"
        found.append(causes.invalid(f"{where}.maxSurge", surge, told))
    elif not _number(unavailable) and not _number(surge):
        found.append(causes.required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0"))


_STATEFUL_SET_IMMUTABLE = (
    ("volumeClaimTemplates", "core.PersistentVolumeClaim"),
    ("serviceName", ""),
    ("podManagementPolicy", ""),
)


def stateful_set(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    before: Found = []
    if old is not None:
        _stateful_set_spec(old, None, before)
    _stateful_set_spec(obj, old, found, with_template=not before)
    if old is None:
        return found
    immutable_selector(obj, old, found)
    for key, type in _STATEFUL_SET_IMMUTABLE:
        new, was = obj["spec"].get(key), old["spec"].get(key)
        if new == was or (type and _same_list(type, new, was)):
            continue
        shown = go_value(type, new) if type else new if new is not None else ""
        found.append(causes.invalid(f"spec.{key}", shown, causes.FIELD_IMMUTABLE))
    return found


def _same_list(type: str, new: Any, old: Any) -> bool:
    new, old = new or [], old or []
    return len(new) == len(old) and all(go_equal(type, one, was) for one, was in zip(new, old, strict=True))


def _stateful_set_spec(obj: Obj, old: Obj | None, found: Found, *, with_template: bool = True) -> None:
    spec = obj["spec"]
    policy = spec.get("podManagementPolicy") or ""
    if not policy:
        found.append(causes.required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        told = "must be 'OrderedReady' or 'Parallel'"
        found.append(causes.invalid("spec.podManagementPolicy", policy, told))
    _stateful_set_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy", found)
    retention = spec.get("persistentVolumeClaimRetentionPolicy")
    for key in ("whenDeleted", "whenScaled") if retention is not None else ():
        where = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
        values.one_of(retention.get(key), where, ("Retain", "Delete"), found)
    claims = spec.get("volumeClaimTemplates") or ()
    if old is None:
        for index, claim in enumerate(claims):
            claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{index}].spec", found)
    not_negative(spec, "spec", found, "replicas", "minReadySeconds")
    start = (spec.get("ordinals") or {}).get("start")
    if start is not None and start < 0:
        found.append(causes.invalid("spec.ordinals.start", start, values.NEGATIVE))
    if old is None and (name := spec.get("serviceName")):
        named(name, "spec.serviceName", names.check_dns1123_label, found)
    if not _selector(spec, "statefulset", "", found):
        return
    selector, template = spec.get("selector"), _set_template(spec)
    if _selecting(selector) and not _selects(selector, template):
        _mismatch(template, "spec", found)
    if with_template:
        pod_template(template, "spec.template", found, lenient_template(old))
    _always_running(spec.get("template") or {}, "StatefulSet", "spec", found)


def _set_template(spec: Obj) -> Obj:
    """The template as its pods will be: the claims' volumes are there, host names are the set's to give."""
    template: Obj = spec.get("template") or {}
    pod = template.get("spec") or {}
    claims = [claim.get("metadata", {}).get("name") or "" for claim in spec.get("volumeClaimTemplates") or ()]
    if not claims and not pod.get("subdomain") and not pod.get("hostname"):
        return template
    pod = {key: value for key, value in pod.items() if key not in ("subdomain", "hostname")}
    if claims:
        made = [
            {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(claims)
        ]
        pod["volumes"] = made + [one for one in pod.get("volumes") or () if one.get("name") not in claims]
    return {**template, "spec": pod}


def _stateful_set_strategy(strategy: Obj, path: str, found: Found) -> None:
    type, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    where = f"{path}.rollingUpdate"
    if not type:
        found.append(causes.required(path))
    elif type == "OnDelete":
        if rolling is not None:
            shown = go_value("apps.RollingUpdateStatefulSetStrategy", rolling)
            found.append(causes.invalid(where, shown, "only allowed for updateStrategy 'RollingUpdate'"))
    elif type != "RollingUpdate":
        shown = go_value("apps.StatefulSetUpdateStrategy", strategy)
        found.append(causes.invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'"))
    elif rolling is not None:
        not_negative(rolling, where, found, "partition")
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            percent_or_count(unavailable, f"{where}.maxUnavailable", found)
            if not _number(unavailable):
                found.append(causes.invalid(f"{where}.maxUnavailable", unavailable, "cannot be 0"))
            _at_most_all(unavailable, f"{where}.maxUnavailable", found)


def replication_controller(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj["spec"]
    not_negative(spec, "spec", found, "minReadySeconds")
    selector, template = spec.get("selector"), spec.get("template")
    if not selector:
        found.append(causes.required("spec.selector"))
    not_negative(spec, "spec", found, "replicas")
    if template is None:
        found.append(causes.required("spec.template"))
        return found
    if selector and not selectors.from_labels(selector).matches(_labels(template) or {}):
        _mismatch(template, "spec", found)
    pod_template(template, "spec.template", found, lenient_template(old))
    _always_running(template, "ReplicationController", "spec", found)
    return found


def counts_status(
    obj: Obj, old: Obj, counts: tuple[str, ...], within: tuple[str, ...] = (), ready: str = ""
) -> Found:
    """``counts`` are not negative, ``within`` are at most ``replicas``; ``ready`` is what the message of too
    many available replicas calls the ready ones."""
    found: Found = []
    status = obj.get("status") or {}
    not_negative(status, "status", found, *counts)
    for key in within:
        if (status.get(key) or 0) > (status.get("replicas") or 0):
            found.append(causes.invalid(f"status.{key}", status[key], _ABOVE))
    if ready and (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        told = f"cannot be greater than {ready}"
        found.append(causes.invalid("status.availableReplicas", status["availableReplicas"], told))
    now, then = status.get("collisionCount"), (old.get("status") or {}).get("collisionCount")
    if then is not None and (now is None or now < then):
        found.append(causes.invalid("status.collisionCount", now or 0, "cannot be decremented"))
    return found


def revision_number(obj: Obj, found: Found) -> None:
    if (obj.get("revision") or 0) < 0:
        found.append(causes.invalid("revision", obj["revision"], values.NEGATIVE))


def controller_revision(obj: Obj) -> Found:
    found: Found = []
    revision_number(obj, found)
    data = obj.get("data")
    if data is None:
        found.append(causes.required("data", "data is mandatory"))
    elif not isinstance(data, dict):
        found.append(causes.required("data", "data must be a valid JSON object"))
    return found
