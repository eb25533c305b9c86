"""What claims, classes and slices of devices have in common: names, selectors, configurations, taints.

Source: pkg/apis/resource/validation, k8s.io/dynamic-resource-allocation/cel (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import orjson

from kubernel import cel
from kubernel.errors import Cause
from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import published_value
from kubernel_plugins.api.builtin.validation.values import Found, Obj, label_key, named
from kubernel_plugins.api.builtin.validation.volumes import csi_driver_name

__all__ = [
    "attribute_reference",
    "binding_conditions",
    "caseless_driver",
    "configuration",
    "declared_pool_name",
    "device_class",
    "each",
    "free_form",
    "label_keys",
    "pool_name",
    "qualified_name",
    "selectors",
    "share_id",
    "taint",
    "taint_rule",
    "tolerations",
    "unique",
    "unique_by",
]

_MOST_SELECTORS = 32
_MOST_CONFIGURATIONS = 32
_MOST_BINDING_CONDITIONS = 4
_LONGEST_EXPRESSION = 10 * 1024
_LONGEST_PARAMETERS = 10 * 1024
_LONGEST_POOL = 253
_LONGEST_DOMAIN = 63
_LONGEST_ID = 32
_LONGEST_ATTRIBUTE = 64
_MOST_ATTRIBUTES = 32
_EXPRESSION_COST = 1_000_000
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_identifier = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_IDENTIFIER = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
    "characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is "
    "'[A-Za-z_][A-Za-z0-9_]*')"
)
_uuid = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID = "must be a lowercase UUID in 8-4-4-4-12 format"
_QUOTA = "requests."

Rule = Callable[[Any, str, Found], None]


def each(items: Sequence[Any] | None, path: str, limit: int, rule: Rule, found: Found) -> bool:
    """The items' own causes, or one for too many of them: then false."""
    if items and len(items) > limit:
        found.append(causes.too_many(path, len(items), limit))
        return False
    for index, item in enumerate(items or ()):
        rule(item, f"{path}[{index}]", found)
    return True


def unique(keys: Iterable[Any], path: str, found: Found) -> None:
    seen = set()
    for index, key in enumerate(keys):
        if key in seen:
            found.append(causes.duplicate(f"{path}[{index}]", key))
        seen.add(key)


def unique_by(keys: tuple[str, ...], items: Iterable[Obj] | None, type: str, path: str, found: Found) -> None:
    """No two items with the same keys; ``type`` is the items' as the published API has it."""
    seen = set()
    for index, item in enumerate(items or ()):
        key = tuple(item.get(name) or "" for name in keys)
        if key in seen:
            found.append(causes.duplicate(f"{path}[{index}]", published_value(type, item)))
        seen.add(key)


def label_keys(value: str, path: str, found: Found) -> None:
    label_key(value, path, found)


def pool_name(name: str, path: str, found: Found) -> None:
    if not name:
        found.append(causes.required(path))
        return
    if len(name) > _LONGEST_POOL:
        found.append(causes.too_long(path, _LONGEST_POOL))
    for part in name.split("/"):
        named(part, path, names.check_dns1123_subdomain, found)


def declared_pool_name(name: str, path: str, found: Found) -> None:
    """As upstream's declared rules say it."""
    if not name:
        found.append(causes.required(path))
        return
    if len(name) > _LONGEST_POOL:
        found.append(causes.too_long(path, _LONGEST_POOL))
    for index, part in enumerate(name.split("/")):
        if not part:
            found.append(causes.invalid(path, name, f"segment {index}: must not be empty"))
        for told in names.check_dns1123_subdomain(part, "bytes") if part else ():
            found.append(causes.invalid(path, part, f"segment {index}: {told}"))


def caseless_driver(name: str, path: str, found: Found) -> None:
    """Where upstream's declared rules say it: in the words for names with capitals."""
    if not name:
        found.append(causes.required(path))
        return
    if len(name) > _LONGEST_DOMAIN:
        told = f"Too long: may not be more than {_LONGEST_DOMAIN} characters"
        found.append(Cause("FieldValueTooLong", told, path))
    found += causes.invalid_each(
        path, name, map(_caseless, names.check_dns1123_subdomain(name.lower(), "bytes"))
    )


def _caseless(told: str) -> str:
    return (
        told.replace("a lowercase RFC 1123", "an RFC 1123")
        .replace("must consist of lower case", "must consist of")
        .replace("'example.com'", "'Example.com'")
    )


def share_id(value: str, path: str, found: Found) -> None:
    if not _uuid.fullmatch(value):
        found.append(causes.invalid(path, value, _UUID))


def qualified_name(name: str, path: str, found: Found) -> None:
    """``[<domain>/]<C identifier>``."""
    parts = name.split("/")
    if len(parts) == 1:
        _c_identifier(name, path, found)
    elif len(parts) == 2:
        if parts[0]:
            csi_driver_name(parts[0], path, found)
        else:
            found.append(causes.invalid(path, "", "the domain must not be empty"))
        if parts[1]:
            _c_identifier(parts[1], path, found)
        else:
            found.append(causes.invalid(path, "", "the name must not be empty"))


def _c_identifier(text: str, path: str, found: Found) -> None:
    if len(text) > _LONGEST_ID:
        found.append(causes.too_long(path, _LONGEST_ID))
    if not _identifier.fullmatch(text):
        found.append(causes.invalid(path, text, _IDENTIFIER))


def attribute_reference(name: str, path: str, found: Found) -> None:
    """An attribute as constraints name it: always with its domain."""
    parts = name.split("/")
    if len(parts) == 1:
        _c_identifier(name, path, found)
        told = "a fully qualified name must be a domain and a name separated by a slash"
        found.append(causes.invalid(path, name, told))
    elif len(parts) == 2:
        domain, identifier = parts
        if not domain:
            found.append(causes.invalid(path, "", "prefix must not be empty"))
        elif len(domain) > _LONGEST_DOMAIN:
            found.append(causes.too_long(path, _LONGEST_DOMAIN))
        for told in names.check_dns1123_subdomain(domain, "bytes") if domain else ():
            found.append(causes.invalid(path, domain, f"prefix: {told}"))
        if identifier:
            _c_identifier(identifier, path, found)
        else:
            found.append(causes.invalid(path, "", "name must not be empty"))


def _extended_resource(name: str, path: str, found: Found) -> None:
    if "/" not in name:
        told = "a name must be a domain-prefixed path, such as 'example.com/my-prop'"
        found.append(causes.invalid(path, name, told))
    elif "kubernetes.io/" in name:
        found.append(causes.invalid(path, name, 'must not have "kubernetes.io/" domain'))
    if name.startswith(_QUOTA):
        found.append(causes.invalid(path, name, f'must not have "{_QUOTA}" prefix'))
    found += causes.invalid_each(path, name, names.check_qualified_name(_QUOTA + name))


@cache
def _environment() -> cel.Environment:
    """``device`` as selectors see it: driver, attributes and capacity by domain and name."""

    def bounded(kind: cel.Type, limit: int) -> cel.Type:
        own = cel.Type(kind.kind, kind.name, kind.parameters)
        own.limit = limit
        return own

    def by_name(value: cel.Type) -> cel.Type:
        inner = bounded(cel.map_of(bounded(cel.STRING, _LONGEST_ID), value), _MOST_ATTRIBUTES)
        return bounded(cel.map_of(bounded(cel.STRING, _LONGEST_DOMAIN), inner), _MOST_ATTRIBUTES)

    device = cel.object_type(
        "kubernetes.DRADevice",
        {
            "driver": bounded(cel.STRING, _LONGEST_DOMAIN),
            "allowMultipleAllocations": bounded(cel.BOOL, 1),
            "attributes": by_name(bounded(cel.DYN, _LONGEST_ATTRIBUTE)),
            "capacity": by_name(cel.opaque("kubernetes.Quantity")),
        },
    )
    return cel.Environment({"device": device}, bindings=True)


def selectors(listed: Sequence[Obj] | None, path: str, found: Found, *, stored: bool = False) -> None:
    """``stored``: the expressions were accepted before."""

    def selector(one: Obj, where: str, found: Found) -> None:
        if one.get("cel") is None:
            found.append(causes.required(f"{where}.cel"))
        elif not stored:
            _expression(one["cel"].get("expression") or "", f"{where}.cel.expression", found)

    each(listed, path, _MOST_SELECTORS, selector, found)


def _expression(source: str, path: str, found: Found) -> None:
    if len(source.encode()) > _LONGEST_EXPRESSION:
        found.append(causes.too_long(path, _LONGEST_EXPRESSION))
        return
    try:
        program = _environment().compile(source)
    except cel.CompileError as error:
        found.append(causes.invalid(path, source, f"compilation failed: {error}"))
        return
    if program.result not in (cel.BOOL, cel.DYN):
        told = f"must evaluate to bool or the unknown type, not {program.result}"
        found.append(causes.invalid(path, source, told))
    elif cel.estimate(program.node) > _EXPRESSION_COST:
        found.append(causes.forbidden(path, "too complex, exceeds cost limit"))


def configuration(config: Obj, path: str, found: Found, *, stored: bool = False) -> None:
    opaque, where = config.get("opaque"), f"{path}.opaque"
    if opaque is None:
        found.append(causes.required(where))
        return
    caseless_driver(opaque.get("driver") or "", f"{where}.driver", found)
    free_form(opaque.get("parameters"), f"{where}.parameters", found, stored=stored)


def free_form(value: Any, path: str, found: Found, *, stored: bool = False) -> None:
    """A JSON object of the driver's own."""
    if value is None:
        found.append(causes.required(path))
    elif not stored and len(orjson.dumps(value)) > _LONGEST_PARAMETERS:
        found.append(causes.too_long(path, _LONGEST_PARAMETERS))
    elif not isinstance(value, dict):
        found.append(causes.invalid(path, "<value omitted>", "must be a valid JSON object"))


def _effect(effect: str, path: str, found: Found) -> None:
    if effect not in _EFFECTS:
        found.append(causes.not_supported(path, effect, _EFFECTS))


def taint(value: Obj, path: str, found: Found) -> None:
    label_key(value.get("key") or "", f"{path}.key", found)
    if value.get("value"):
        named(value["value"], f"{path}.value", names.check_label_value, found)
    if value.get("effect"):
        _effect(value["effect"], f"{path}.effect", found)
    else:
        found.append(causes.required(f"{path}.effect"))


def tolerations(listed: Iterable[Obj] | None, path: str, found: Found) -> None:
    for index, one in enumerate(listed or ()):
        where, value = f"{path}[{index}]", one.get("value") or ""
        if one.get("key"):
            label_key(one["key"], f"{where}.key", found)
        match one.get("operator"):
            case "Exists":
                if value:
                    told = "must be empty for operator `Exists`"
                    found.append(causes.invalid(f"{where}.value", value, told))
            case "Equal" | None:
                named(value, f"{where}.value", names.check_label_value, found)
            case other:
                found.append(causes.not_supported(f"{where}.operator", other, ("Equal", "Exists")))
        if one.get("effect"):
            _effect(one["effect"], f"{where}.effect", found)


def binding_conditions(owner: Obj, path: str, found: Found) -> None:
    """What must and what must not be true of a device before its pod is bound; one needs the other."""
    wanted, failures = owner.get("bindingConditions") or [], owner.get("bindingFailureConditions") or []
    here, there = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    each(wanted, here, _MOST_BINDING_CONDITIONS, label_keys, found)
    each(failures, there, _MOST_BINDING_CONDITIONS, label_keys, found)
    unique(wanted, here, found)
    unique(failures, there, found)
    for index, condition in enumerate(failures):
        if condition in wanted:
            told = "bindingFailureConditions must not overlap with bindingConditions"
            found.append(causes.invalid(f"{there}[{index}]", condition, told))
    if failures and not wanted:
        told = "bindingConditions are required to use bindingFailureConditions"
        found.append(causes.invalid(here, None, told))
    if wanted and not failures:
        told = "bindingFailureConditions are required to use bindingConditions"
        found.append(causes.invalid(there, None, told))


def device_class(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec, before = obj.get("spec") or {}, None if old is None else old.get("spec") or {}
    unchanged = {
        key: before is not None and spec.get(key) == before.get(key) for key in ("selectors", "config")
    }
    selectors(spec.get("selectors"), "spec.selectors", found, stored=unchanged["selectors"])

    def config(one: Obj, path: str, found: Found) -> None:
        configuration(one, path, found, stored=unchanged["config"])

    each(spec.get("config"), "spec.config", _MOST_CONFIGURATIONS, config, found)
    name = spec.get("extendedResourceName")
    if name is not None:
        _extended_resource(name, "spec.extendedResourceName", found)
    return found


def taint_rule(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    chosen = spec.get("deviceSelector") or {}
    for key, rule in (("driver", csi_driver_name), ("pool", pool_name)):
        if chosen.get(key) is not None:
            rule(chosen[key], f"spec.deviceSelector.{key}", found)
    if chosen.get("device") is not None:
        named(chosen["device"], "spec.deviceSelector.device", names.check_dns1123_label, found)
    applied = spec.get("taint") or {}
    before = None if old is None else ((old.get("spec") or {}).get("taint") or {})
    if before is not None and before.get("effect") == applied.get("effect"):
        applied = {**applied, "effect": "None"}
    taint(applied, "spec.taint", found)
    return found
