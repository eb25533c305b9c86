"""What a policy's expressions say about fields that its resources do not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kubernel import cel
from kubernel_plugins.expressions import Variables, environment

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["MOST_TYPES", "check"]

MOST_TYPES = 10
"""Of a rule that names more, the first are checked."""


def check(policy: Obj, registry: Registry) -> list[dict[str, str]]:
    """``status.typeChecking.expressionWarnings``."""
    spec = policy.get("spec") or {}
    types = _types(spec, registry)
    params = _params(spec, registry)
    warnings: list[dict[str, str]] = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            source = validation.get(field)
            if not source:
                continue
            found = [line for type in types if (line := _warning(type, source, spec, params))]
            if found:
                warnings.append(
                    {"fieldRef": f"spec.validations[{index}].{field}", "warning": "\n".join(found)}
                )
    return warnings


def _warning(type: ResourceType, source: str, spec: Mapping[str, Any], params: bool | cel.Type) -> str:
    object = cel.type_from_schema(type.schema(), type.kind, resource=True) or cel.DYN
    variables = Variables(spec.get("variables") or (), params=params, object=object)
    where = environment(params=params, variables=variables.types, object=object)
    try:
        where.compile(source)
    except cel.CompileError as error:
        group_version = f"{type.group}/{type.version}" if type.group else f"/{type.version}"
        return f"{group_version}, Kind={type.kind}: {error}\n"
    return ""


def _params(spec: Mapping[str, Any], registry: Registry) -> bool | cel.Type:
    kind = spec.get("paramKind")
    if kind is None:
        return False
    group, _, version = kind.get("apiVersion", "").rpartition("/")
    type = registry.by_kind(group, version, kind.get("kind", ""))
    return True if type is None else cel.type_from_schema(type.schema(), type.kind, resource=True) or True


def _types(spec: Mapping[str, Any], registry: Registry) -> list[ResourceType]:
    found: dict[Any, ResourceType] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        for count, type in enumerate(_named(rule, registry)):
            if count == MOST_TYPES:
                break
            found[type.gvk] = type
    return [found[gvk] for gvk in sorted(found)]


def _named(rule: Mapping[str, Any], registry: Registry) -> Iterator[ResourceType]:
    """The resources that a rule names one by one; a wildcard names none."""
    groups, versions = sorted(rule.get("apiGroups") or ()), sorted(rule.get("apiVersions") or ())
    if any("*" in text for text in (*groups, *versions)):
        return
    for group in groups:
        for version in versions:
            for plural in sorted(rule.get("resources") or ()):
                type = None if "*" in plural or "/" in plural else registry.lookup(group, version, plural)
                if type is not None:
                    yield type
