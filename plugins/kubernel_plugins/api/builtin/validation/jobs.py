"""Jobs.

Source: pkg/apis/batch/validation and pkg/registry/batch/job/strategy.go (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kubernel.objects import names, selectors
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation import values
from kubernel_plugins.api.builtin.validation.internal import go_equal, go_value
from kubernel_plugins.api.builtin.validation.job_indexes import count_indexes
from kubernel_plugins.api.builtin.validation.job_status import is_true
from kubernel_plugins.api.builtin.validation.pod_specs import Lenient, pod_template
from kubernel_plugins.api.builtin.validation.pod_updates import lenient_as
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    label_selector,
    label_values,
    named,
    not_negative,
    selector_value,
)

__all__ = ["job_create", "job_spec", "job_update"]

_UID = "batch.kubernetes.io/controller-uid"
_NAME = "batch.kubernetes.io/job-name"
_LEGACY_UID = "controller-uid"
_LEGACY_NAME = "job-name"
_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
_MANY = 100_000
_FEWER = 10_000
_RULES = 20
_EXIT_CODES = 255
_INDEXES = 64 * 1024
_MANAGED_BY = 63
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_http_path = re.compile(_HTTP_PATH)


def _quoted(texts: Iterable[str]) -> str:
    """A Go list of strings as ``%q`` prints it."""
    return "[" + " ".join(f'"{text}"' for text in texts) + "]"


def _labels(template: Obj) -> Mapping[str, str]:
    return (template.get("metadata") or {}).get("labels") or {}


def _sorted(labels: Mapping[str, str]) -> Any:
    return {key: labels[key] for key in sorted(labels)} or None


def job_create(job: Obj) -> Found:
    found: Found = []
    if not job["spec"].get("manualSelector"):
        _generated(job, found)
    _spec_with_selector(job["spec"], Lenient(), False, found)
    _name_leaves_room(job, found)
    return found


def _generated(job: Obj, found: Found) -> None:
    spec = job["spec"]
    uid, name = job["metadata"]["uid"], job["metadata"].get("name") or ""
    selector = spec.get("selector")
    if selector is None:
        return
    labels = _labels(spec.get("template") or {})
    expected = {_LEGACY_UID: uid, _LEGACY_NAME: name, _UID: uid, _NAME: name}
    for key, wanted in expected.items():
        where = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            found.append(causes.required(where, f"must be '{wanted}'"))
        elif labels[key] != wanted:
            found.append(causes.invalid(where, _sorted(labels), f"must be '{wanted}'"))
    if not _matches(selector, expected):
        found.append(
            causes.invalid("spec.selector", selector_value(selector), "`selector` not auto-generated")
        )


def _matches(selector: Obj, labels: Mapping[str, str]) -> bool:
    try:
        return selectors.from_object(selector).matches(labels)
    except ValueError:
        return True


def _name_leaves_room(job: Obj, found: Found) -> None:
    """Pods of an indexed job have its name and their index as host name."""
    spec, name = job["spec"], job["metadata"].get("name") or ""
    if spec.get("completionMode") == "Indexed" and (spec.get("completions") or 0) > 0:
        host = f"{name}-{spec['completions'] - 1}"
        if names.check_dns1123_label(host):
            told = f"will not able to create pod with invalid DNS label: {host}"
            found.append(causes.invalid("metadata.name", name, told))


def _spec_with_selector(spec: Obj, lenient: Lenient, any_value: bool, found: Found) -> None:
    job_spec(spec, "spec", lenient, found)
    selector = spec.get("selector")
    if selector is None:
        found.append(causes.required("spec.selector"))
    else:
        label_selector(selector, "spec.selector", found, any_value=any_value)
    labels = _labels(spec.get("template") or {})
    if selector is None or not _matches(selector, labels):
        told = "`selector` does not match template `labels`"
        found.append(causes.invalid("spec.template.metadata.labels", _sorted(labels), told))


def job_spec(spec: Obj, path: str, lenient: Lenient, found: Found) -> None:
    not_negative(spec, path, found, *_COUNTS)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        told = "when maxFailedIndexes is specified"
        found.append(causes.required(f"{path}.backoffLimitPerIndex", told))
    if (manager := spec.get("managedBy")) is not None:
        domain_prefixed_path(manager, f"{path}.managedBy", found)
        if len(manager) > _MANAGED_BY:
            found.append(causes.too_long(f"{path}.managedBy", _MANAGED_BY))
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        found.append(causes.not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        _indexed(spec, path, found)
    elif mode in (None, "NonIndexed"):
        for key in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(key) is not None:
                found.append(causes.invalid(f"{path}.{key}", spec[key], "requires indexed completion mode"))
    if spec.get("podFailurePolicy") is not None:
        _failure_policy(spec, f"{path}.podFailurePolicy", found)
    policy = spec.get("successPolicy")
    if policy is not None:
        if mode != "Indexed":
            shown = go_value("batch.SuccessPolicy", policy)
            found.append(causes.invalid(f"{path}.successPolicy", shown, "requires indexed completion mode"))
        else:
            _success_policy(spec, f"{path}.successPolicy", found)
    _replacement_policy(spec, f"{path}.podReplacementPolicy", found)
    template = spec.get("template") or {}
    pod_template(template, f"{path}.template", found, lenient)
    where = f"{path}.template.spec.restartPolicy"
    restart = (template.get("spec") or {}).get("restartPolicy") or ""
    if restart in ("", "Always"):
        found.append(causes.required(where, 'valid values: "OnFailure", "Never"'))
    elif restart not in ("OnFailure", "Never"):
        found.append(causes.not_supported(where, restart, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") is not None and restart != "Never":
        told = 'only "Never" is supported when podFailurePolicy is specified'
        found.append(causes.invalid(where, restart, told))


def domain_prefixed_path(text: str, path: str, found: Found) -> None:
    if not text:
        found.append(causes.required(path))
        return
    host, slash, rest = text.partition("/")
    if not slash or not host or not rest:
        told = 'must be a domain-prefixed path (such as "acme.io/foo")'
        found.append(causes.invalid(path, text, told))
        return
    named(host, path, names.check_dns1123_subdomain, found)
    if not _http_path.fullmatch(rest):
        told = f"Invalid path (regex used for validation is '{_HTTP_PATH}')"
        found.append(causes.invalid(path, rest, told))


def _indexed(spec: Obj, path: str, found: Found) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed = spec.get("maxFailedIndexes")
    if completions is None:
        found.append(causes.required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > _MANY:
        told = f"must be less than or equal to {_MANY} when completion mode is Indexed"
        found.append(causes.invalid(f"{path}.parallelism", parallelism, told))
    where = f"{path}.maxFailedIndexes"
    if failed is not None:
        if completions is not None and failed > completions:
            found.append(causes.invalid(where, failed, "must be less than or equal to completions"))
        if failed > _MANY:
            found.append(causes.invalid(where, failed, f"must be less than or equal to {_MANY}"))
    if (completions or 0) <= _MANY or spec.get("backoffLimitPerIndex") is None:
        return
    if failed is None:
        told = f"must be specified when completions is above {_MANY}"
        found.append(causes.required(where, told))
    told = (
        f"must be less than or equal to {_FEWER} when completions are above {_MANY} and used with backoff limit "
        "per index"
    )
    for key, value in (("parallelism", parallelism), ("maxFailedIndexes", failed)):
        if value is not None and value > _FEWER:
            found.append(causes.invalid(f"{path}.{key}", value, told))


def _replacement_policy(spec: Obj, path: str, found: Found) -> None:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return
    known = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    values.one_of(policy, path, known, found)


def _failure_policy(spec: Obj, path: str, found: Found) -> None:
    rules = spec["podFailurePolicy"].get("rules") or ()
    if len(rules) > _RULES:
        found.append(causes.too_many(f"{path}.rules", len(rules), _RULES))
    pod = (spec.get("template") or {}).get("spec") or {}
    known = {one.get("name") for kind in ("containers", "initContainers") for one in pod.get(kind) or ()}
    for index, rule in enumerate(rules):
        where = f"{path}.rules[{index}]"
        action = rule.get("action") or ""
        if not action:
            found.append(causes.required(f"{where}.action", f"valid values: {_quoted(_ACTIONS)}"))
        elif action == "FailIndex":
            if spec.get("backoffLimitPerIndex") is None:
                told = "requires the backoffLimitPerIndex to be set"
                found.append(causes.invalid(f"{where}.action", action, told))
        elif action not in _ACTIONS:
            found.append(causes.not_supported(f"{where}.action", action, _ACTIONS))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None:
            _exit_codes(codes, f"{where}.onExitCodes", known, found)
        if conditions:
            _pod_conditions(conditions, f"{where}.onPodConditions", found)
        if codes is not None and conditions:
            told = "specifying both OnExitCodes and OnPodConditions is not supported"
            found.append(causes.without_value(where, told))
        if codes is None and not conditions:
            told = "specifying one of OnExitCodes and OnPodConditions is required"
            found.append(causes.without_value(where, told))


def _pod_conditions(conditions: list[Obj], path: str, found: Found) -> None:
    if len(conditions) > _RULES:
        found.append(causes.too_many(path, len(conditions), _RULES))
    for index, pattern in enumerate(conditions):
        named(pattern.get("type") or "", f"{path}[{index}].type", names.check_qualified_name, found)
        status = pattern.get("status") or ""
        if not status:
            found.append(causes.required(f"{path}[{index}].status", f"valid values: {_quoted(_STATUSES)}"))
        elif status not in _STATUSES:
            found.append(causes.not_supported(f"{path}[{index}].status", status, _STATUSES))


def _exit_codes(codes: Obj, path: str, known: Iterable[Any], found: Found) -> None:
    operator, listed = codes.get("operator") or "", codes.get("values") or []
    if not operator:
        found.append(causes.required(f"{path}.operator", f"valid values: {_quoted(_OPERATORS)}"))
    elif operator not in _OPERATORS:
        found.append(causes.not_supported(f"{path}.operator", operator, _OPERATORS))
    container = codes.get("containerName")
    if container is not None and container not in known:
        told = "must be one of the container or initContainer names in the pod template"
        found.append(causes.invalid(f"{path}.containerName", container, told))
    if not listed:
        found.append(causes.invalid(f"{path}.values", codes.get("values"), "at least one value is required"))
    elif len(listed) > _EXIT_CODES:
        found.append(causes.too_many(f"{path}.values", len(listed), _EXIT_CODES))
    taken: set[int] = set()
    for index, code in enumerate(listed):
        where = f"{path}.values[{index}]"
        if operator == "In" and code == 0:
            found.append(causes.invalid(where, code, "must not be 0 for the In operator"))
        if code in taken:
            found.append(causes.duplicate(where, code))
        taken.add(code)
    if listed != sorted(listed):
        found.append(causes.invalid(f"{path}.values", listed, "must be ordered"))


def _success_policy(spec: Obj, path: str, found: Found) -> None:
    rules = spec["successPolicy"].get("rules") or ()
    if not rules:
        told = "at least one rules must be specified when the successPolicy is specified"
        found.append(causes.required(f"{path}.rules", told))
    if len(rules) > _RULES:
        found.append(causes.too_many(f"{path}.rules", len(rules), _RULES))
    completions = spec.get("completions") or 0
    for position, rule in enumerate(rules):
        where = f"{path}.rules[{position}]"
        count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            told = "at least one of succeededCount or succeededIndexes must be specified"
            found.append(causes.required(where, told))
        total = 0
        if indexes is not None:
            if len(indexes) > _INDEXES:
                found.append(causes.too_long(f"{where}.succeededIndexes", _INDEXES))
            try:
                total = count_indexes(indexes, completions)
            except ValueError as error:
                told = f"error parsing succeededIndexes: {error}"
                found.append(causes.invalid(f"{where}.succeededIndexes", indexes, told))
        if count is None:
            continue
        not_negative(rule, where, found, "succeededCount")
        if count > completions:
            told = f"must be less than or equal to {completions} (the number of specified completions)"
            found.append(causes.invalid(f"{where}.succeededCount", count, told))
        if indexes is not None and count > total:
            told = (
                f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes "
                "field)"
            )
            found.append(causes.invalid(f"{where}.succeededCount", count, told))


def job_update(job: Obj, old: Obj) -> Found:
    found: Found = []
    spec, before = job["spec"], old["spec"]
    template = before.get("template") or {}
    lenient = lenient_as(template.get("spec") or {}, template.get("metadata") or {})
    any_value = _bad_values(before.get("selector") or {})
    _spec_with_selector(spec, lenient, any_value, found)
    _completions(spec, before, found)
    if spec.get("selector") != before.get("selector"):
        found.append(
            causes.invalid("spec.selector", selector_value(spec.get("selector")), causes.FIELD_IMMUTABLE)
        )
    _template_update(spec, old, found)
    for key, type in (
        ("completionMode", ""),
        ("podFailurePolicy", "batch.PodFailurePolicy"),
        ("backoffLimitPerIndex", ""),
        ("managedBy", ""),
        ("successPolicy", "batch.SuccessPolicy"),
    ):
        new = spec.get(key)
        if new != before.get(key):
            shown = go_value(type, new) if type else new
            found.append(causes.invalid(f"spec.{key}", shown, causes.FIELD_IMMUTABLE))
    _name_leaves_room(job, found)
    return found


def _bad_values(selector: Obj) -> bool:
    found: Found = []
    for rule in selector.get("matchExpressions") or ():
        label_values(rule.get("values") or (), "", found)
    return bool(found)


def _completions(spec: Obj, before: Obj, found: Found) -> None:
    now, then = spec.get("completions"), before.get("completions")
    if now == then:
        return
    if spec.get("completionMode") != "Indexed":
        found.append(causes.invalid("spec.completions", now, causes.FIELD_IMMUTABLE))
    elif now is not None and now != spec.get("parallelism"):
        told = "can only be modified in tandem with spec.parallelism"
        found.append(causes.invalid("spec.completions", now, told))


def _template_update(spec: Obj, old: Obj, found: Found) -> None:
    """A suspended job that runs nothing may get other scheduling directives and resources (KEPs 2926, 5440)."""
    template, before = spec.get("template") or {}, old["spec"].get("template") or {}
    if template == before:
        return
    if not _template_may_change(old):
        if not go_equal("core.PodTemplateSpec", template, before):
            shown = go_value("core.PodTemplateSpec", template)
            found.append(causes.invalid("spec.template", shown, causes.FIELD_IMMUTABLE))
        return
    pod, was = template.get("spec") or {}, {**(before.get("spec") or {})}
    for key in ("nodeSelector", "tolerations", "schedulingGates"):
        was[key] = pod.get(key)
    now, then = pod.get("affinity"), was.get("affinity")
    if now is not None or then is not None:
        was["affinity"] = {**(then or {}), "nodeAffinity": (now or {}).get("nodeAffinity")}
        if now is None and not any(was["affinity"].values()):
            was["affinity"] = None
    for kind in ("containers", "initContainers"):
        mine, others = pod.get(kind) or (), was.get(kind) or ()
        if len(mine) == len(others) and others:
            was[kind] = [
                {**one, "resources": new.get("resources")} if new.get("name") == one.get("name") else one
                for new, one in zip(mine, others, strict=True)
            ]
    if not go_equal("core.PodSpec", pod, was):
        shown = go_value("core.PodSpec", pod)
        found.append(causes.invalid("spec.template.spec", shown, causes.FIELD_IMMUTABLE))


def _template_may_change(old: Obj) -> bool:
    status = old.get("status") or {}
    if not old["spec"].get("suspend"):
        return False
    suspended = is_true(old, "Suspended") or status.get("startTime") is None
    return suspended and not status.get("active")
