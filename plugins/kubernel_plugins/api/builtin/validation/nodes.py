"""Nodes: taints, capacity, pod ranges, what a node declares.

Source: ValidateNode and ValidateNodeUpdate of pkg/apis/core/validation (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from kubernel.objects import names
from kubernel.registry.causes import show
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.addresses import cidr, dual_stack
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.resources import quantity_value
from kubernel_plugins.api.builtin.validation.values import Found, Obj, label_key

__all__ = ["node", "node_update"]

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_LONGEST_FEATURE = 253
_feature = re.compile("[A-Z][a-zA-Z0-9]*(?:/[A-Za-z0-9]+)*")
_FEATURE = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature "
    "or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)
_CIDR_FIXED = 'node updates may not change podCIDR except from "" to valid'


def node(obj: Obj) -> Found:
    found: Found = []
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    _taints(spec, found)
    _resources(status, found)
    _features(status.get("declaredFeatures") or (), found)
    ranges = spec.get("podCIDRs") or []
    for index, text in enumerate(ranges):
        cidr(text, f"spec.podCIDRs[{index}]", found)
    if len(ranges) > 1 and (len(ranges) > 2 or not dual_stack(ranges)):
        told = "may specify no more than one CIDR for each IP family"
        found.append(causes.invalid("spec.podCIDRs", ranges, told))
    return found


def node_update(obj: Obj, old: Obj) -> Found:
    found: Found = []
    spec, status, before = obj.get("spec") or {}, obj.get("status") or {}, old.get("spec") or {}
    _resources(status, found)
    _features(status.get("declaredFeatures") or (), found)
    seen: list[Obj] = []
    for index, address in enumerate(status.get("addresses") or ()):
        if address in seen:
            shown = go_value("core.NodeAddress", address)
            found.append(causes.duplicate(f"status.addresses[{index}]", shown))
        seen.append(address)
    had, has = before.get("podCIDRs") or [], spec.get("podCIDRs") or []
    changes = 1 if len(had) != len(has) else sum(one != was for one, was in zip(has, had, strict=True))
    if had:
        found += [causes.forbidden("spec.podCIDRs", _CIDR_FIXED)] * changes
    known, provider = before.get("providerID"), spec.get("providerID")
    if known and provider != known:
        told = f"field cannot be {'modified' if provider else 'cleared'} once set"
        found.append(causes.invalid("spec.providerID", None, told))
    _taints(spec, found)
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        found.append(causes.forbidden("spec.externalID", "may not be updated"))
    return found


def _taints(spec: Obj, found: Found) -> None:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints") or ()):
        # Upstream's path says metadata.
        path, effect = f"metadata.taints[{index}]", taint.get("effect") or ""
        label_key(taint.get("key") or "", f"{path}.key", found)
        wrong = names.check_label_value(taint.get("value") or "")
        if wrong:
            found.append(causes.invalid(f"{path}.value", taint["value"], ";".join(wrong)))
        if not effect:
            found.append(causes.required(f"{path}.effect"))
        elif effect not in _EFFECTS:
            found.append(causes.not_supported(f"{path}.effect", effect, _EFFECTS))
        pair = (effect, taint.get("key") or "")
        if pair in seen:
            again = causes.duplicate(path, go_value("core.Taint", taint))
            told = f"{again.message}: taints must be unique by key and effect pair"
            found.append(replace(again, message=told))
        seen.add(pair)


def _resources(status: Obj, found: Found) -> None:
    for key in ("capacity", "allocatable"):
        for name, text in (status.get(key) or {}).items():
            quantity_value(name, text, f"status.{key}.{name}", found)


def _features(features: Sequence[str], found: Found) -> None:
    for index, feature in enumerate(features):
        path = f"status.declaredFeatures[{index}]"
        quoted = show(feature)
        if len(feature) > _LONGEST_FEATURE:
            told = f"must be no more than {_LONGEST_FEATURE} characters"
            found.append(causes.invalid(path, feature, f"invalid feature name {quoted}: {told}"))
        elif not _feature.fullmatch(feature):
            found.append(causes.invalid(path, feature, f"invalid feature name {quoted}: {_FEATURE}"))
        following, where = features[index + 1 : index + 2], f"status.declaredFeatures[{index + 1}]"
        if following and following[0] == feature:
            found.append(causes.duplicate(where, feature))
        elif following and feature > following[0]:
            found.append(causes.invalid(where, following[0], "list must be sorted alphabetically"))
