"""The spec of a definition: its group, names, versions, conversion, columns and subresources.

Paths are those that upstream's messages have: what all versions say alike stands at the top of the spec there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions, names
from kubernel.objects.approval import ANNOTATION, State, approval_state, is_protected
from kubernel.registry import causes
from kubernel_plugins.api.custom.rules.paths import SchemaPathError, find_path
from kubernel_plugins.api.custom.rules.schema import check_version_schema
from kubernel_plugins.webhook_rules import check_ca_bundle, check_client_config

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.schema import Node

__all__ = ["check_definition", "check_status"]

Obj = Mapping[str, Any]

_SCOPES = ("Cluster", "Namespaced")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_REVIEW_VERSIONS = ("v1", "v1beta1")
_MOST_FIELDS = 8
_LONGEST_WARNING = 256
_SELECTABLE = ("string", "boolean", "integer")
_MIXED_CASE = "may have mixed case, but should otherwise match: "


def check_definition(obj: Obj, old: Obj | None, metadata: Node) -> list[Cause]:
    """All that is wrong with a new definition, or with one in the place of ``old``."""
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    if old is None:
        wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
        for key in ("generateName", "name"):
            name = obj["metadata"].get(key)
            if name and name != wanted:
                told = 'must be spec.names.plural+"."+spec.group'
                found.append(causes.invalid(f"metadata.{key}", name, told))
    found += _check_spec(spec, old, metadata)
    if old is not None:
        found += _check_kept(spec, old)
    found += check_status(obj)
    found += _check_stored(obj)
    found += _check_approval(obj, old)
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        found.append(causes.invalid("spec.preserveUnknownFields", True, text))
    return found


def check_status(obj: Obj) -> list[Cause]:
    accepted = (obj.get("status") or {}).get("acceptedNames") or {}
    return _check_names(accepted, "status.acceptedNames")


def _check_spec(spec: Obj, old: Obj | None, metadata: Node) -> list[Cause]:
    found = _check_group(spec.get("group") or "")
    scope = spec.get("scope") or ""
    if not scope:
        found.append(causes.required("spec.scope"))
    elif scope not in _SCOPES:
        found.append(causes.not_supported("spec.scope", scope, _SCOPES))
    versions: list[Obj] = spec.get("versions") or []
    found += [
        causes.required(f"spec.versions[{index}].schema.openAPIV3Schema")
        for index, version in enumerate(versions)
        if (version.get("schema") or {}).get("openAPIV3Schema") is None
    ]
    found += _check_versions(spec, versions, old, metadata)
    if len({version.get("name") for version in versions}) != len(versions):
        found.append(causes.invalid("spec.versions", _shown(versions), "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        found.append(causes.invalid("spec.versions", _shown(versions) or spec.get("versions"), text))
    called = spec.get("names") or {}
    found += [
        causes.required(f"spec.names.{field}")
        for field in ("plural", "singular", "kind", "listKind")
        if not called.get(field)
    ]
    found += _check_names(called, "spec.names")
    established = old is not None and conditions.is_true(old, "Established")
    found += _check_conversion(spec.get("conversion"), old, established)
    return found


def _check_group(group: str) -> list[Cause]:
    if not group:
        return [causes.required("spec.group")]
    wrong = names.check_dns1123_subdomain(group)
    if wrong:
        return [causes.invalid("spec.group", group, ",".join(wrong))]
    if "." not in group:
        return [causes.invalid("spec.group", group, "should be a domain with at least one dot")]
    return []


def _check_names(called: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []

    def label(field: str, value: str, *, lower: bool = False) -> None:
        wrong = names.check_dns1035_label(value.lower() if lower else value)
        if wrong:
            text = (_MIXED_CASE if lower else "") + ",".join(wrong)
            found.append(causes.invalid(f"{path}.{field}", value, text))

    for field in ("plural", "singular"):
        if called.get(field):
            label(field, called[field])
    for field in ("kind", "listKind"):
        if called.get(field):
            label(field, called[field], lower=True)
    for index, name in enumerate(called.get("shortNames") or ()):
        label(f"shortNames[{index}]", name)
    if called.get("kind") and called["kind"] == called.get("listKind"):
        text = "kind and listKind may not be the same"
        found.append(causes.invalid(f"{path}.listKind", called["listKind"], text))
    for index, name in enumerate(called.get("categories") or ()):
        label(f"categories[{index}]", name)
    return found


def _alike(versions: list[Obj], key: str) -> bool:
    return bool(versions) and all(version.get(key) == versions[0].get(key) for version in versions)


def _shown(versions: list[Obj]) -> list[Obj]:
    """Versions as upstream's own form of them prints: what all say alike is not in them."""
    if versions and not _alike(versions, "schema"):
        return versions
    subresources = _alike(versions, "subresources")
    columns = _alike(versions, "additionalPrinterColumns")
    selectable = _alike(versions, "selectableFields")
    return [
        {
            "Name": one.get("name") or "",
            "Served": bool(one.get("served")),
            "Storage": bool(one.get("storage")),
            "Deprecated": bool(one.get("deprecated")),
            "DeprecationWarning": one.get("deprecationWarning"),
            "Schema": None,
            "Subresources": None if subresources else _shown_subresources(one.get("subresources")),
            "AdditionalPrinterColumns": None
            if columns or not one.get("additionalPrinterColumns")
            else [
                {
                    "Name": column.get("name") or "",
                    "Type": column.get("type") or "",
                    "Format": column.get("format") or "",
                    "Description": column.get("description") or "",
                    "Priority": column.get("priority") or 0,
                    "JSONPath": column.get("jsonPath") or "",
                }
                for column in one["additionalPrinterColumns"]
            ],
            "SelectableFields": None
            if selectable or not one.get("selectableFields")
            else [{"JSONPath": field.get("jsonPath") or ""} for field in one["selectableFields"]],
        }
        for one in versions
    ]


def _shown_subresources(subresources: Obj | None) -> Obj | None:
    if subresources is None:
        return None
    scale = subresources.get("scale")
    shown = scale and {
        "SpecReplicasPath": scale.get("specReplicasPath") or "",
        "StatusReplicasPath": scale.get("statusReplicasPath") or "",
        "LabelSelectorPath": scale.get("labelSelectorPath"),
    }
    return {"Status": subresources.get("status"), "Scale": shown}


def _check_versions(spec: Obj, versions: list[Obj], old: Obj | None, metadata: Node) -> list[Cause]:
    before = {one.get("name"): one for one in ((old or {}).get("spec") or {}).get("versions") or ()}
    at_top = {
        key: _alike(versions, key)
        for key in ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
    }
    found: list[Cause] = []
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        wrong = names.check_dns1035_label(version.get("name") or "")
        if wrong:
            found.append(causes.invalid(f"{path}.name", version.get("name") or "", ",".join(wrong)))
        found += [
            causes.invalid(f"{path}.deprecationWarning", version.get("deprecationWarning"), text)
            for text in _check_deprecation(version)
        ]
        first = index == 0
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None and (first or not at_top["schema"]):
            kept = (before.get(version.get("name")) or {}).get("schema") == version.get("schema")
            where = "spec.validation" if at_top["schema"] else f"{path}.schema"
            status = (version.get("subresources") or {}).get("status") is not None
            found += check_version_schema(schema, where, status=status, unchanged=kept, metadata=metadata)
        if first or not at_top["subresources"]:
            where = "spec" if at_top["subresources"] else path
            found += _check_subresources(version.get("subresources") or {}, f"{where}.subresources")
        if first or not at_top["additionalPrinterColumns"]:
            where = "spec" if at_top["additionalPrinterColumns"] else path
            for place, column in enumerate(version.get("additionalPrinterColumns") or ()):
                found += _check_column(column, f"{where}.additionalPrinterColumns[{place}]")
        if version.get("selectableFields") and (first or not at_top["selectableFields"]):
            where = "spec" if at_top["selectableFields"] else path
            found += _check_selectable(version["selectableFields"], schema or {}, f"{where}.selectableFields")
    return found


def _check_deprecation(version: Obj) -> list[str]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return []
    if not version.get("deprecated"):
        return ["can only be set for deprecated versions"]
    found = []
    if len(warning.encode()) > _LONGEST_WARNING:
        found.append(f"must be <= {_LONGEST_WARNING} characters long")
    if not warning:
        found.append("must not be an empty string")
    for index, char in enumerate(warning):
        if not char.isprintable():
            place = len(warning[:index].encode())
            found.append(
                "must only contain printable UTF-8 characters; non-printable character found at index "
                f"{place}"
            )
            break
    return found


def _check_subresources(subresources: Obj, path: str) -> list[Cause]:
    scale = subresources.get("scale")
    if scale is None:
        return []
    found: list[Cause] = []
    for field, below in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        value = scale.get(field) or ""
        where = f"{path}.scale.{field}"
        if not value:
            found.append(causes.required(where))
        elif wrong := _check_simple_path(value, where):
            found += wrong
        elif not value.startswith(f"{below}."):
            found.append(causes.invalid(where, value, f"should be a json path under {below}"))
    selector = scale.get("labelSelectorPath")
    if selector:
        where = f"{path}.scale.labelSelectorPath"
        wrong = _check_simple_path(selector, where)
        if not wrong and not selector.startswith((".spec.", ".status.")):
            text = "should be a json path under either .spec or .status"
            wrong = [causes.invalid(where, selector, text)]
        found += wrong
    return found


def _check_simple_path(value: str, path: str) -> list[Cause]:
    if not value:
        return [causes.invalid(path, value, "must not be empty")]
    if value[0] != ".":
        return [causes.invalid(path, value, "must be a simple json path starting with .")]
    return []


def _check_column(column: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    if not column.get("name"):
        found.append(causes.required(f"{path}.name"))
    type_ = column.get("type") or ""
    one_of = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not type_:
        found.append(causes.required(f"{path}.type", one_of))
    elif type_ not in _COLUMN_TYPES:
        found.append(causes.invalid(f"{path}.type", type_, one_of))
    format_ = column.get("format") or ""
    if format_ and format_ not in _COLUMN_FORMATS:
        text = f"must be one of {','.join(_COLUMN_FORMATS)}"
        found.append(causes.invalid(f"{path}.format", format_, text))
    value = column.get("jsonPath") or ""
    if not value:
        found.append(causes.required(f"{path}.JSONPath"))
    else:
        found += _check_simple_path(value, f"{path}.JSONPath")
    return found


def _check_selectable(selectable: Iterable[Obj], schema: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, one in enumerate(selectable):
        where = f"{path}[{index}].jsonPath"
        value = one.get("jsonPath") or ""
        if not value:
            found.append(causes.required(where))
            continue
        try:
            parts, target = find_path(value, schema, brackets=False)
        except SchemaPathError as error:
            found.append(causes.invalid(where, value, f"is an invalid path: {error}"))
            continue
        if parts[:1] == ["metadata"]:
            found.append(causes.invalid(where, value, "must not point to fields in metadata"))
        if target.get("type") not in _SELECTABLE:
            text = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with "
                "formats are allowed."
            )
            found.append(causes.invalid(where, value, text))
        key = ".".join(parts)
        if key in seen:
            found.append(causes.duplicate(where, value))
        seen.add(key)
    if len(seen) > _MOST_FIELDS:
        found.append(causes.too_many(path, len(seen), _MOST_FIELDS))
    return found


def _check_conversion(conversion: Obj | None, old: Obj | None, established: bool) -> list[Cause]:
    if conversion is None:
        return []
    path = "spec.conversion"
    strategy = conversion.get("strategy") or ""
    found: list[Cause] = []
    if not strategy:
        found.append(causes.required(f"{path}.strategy"))
    elif strategy not in ("None", "Webhook"):
        found.append(causes.not_supported(f"{path}.strategy", strategy, ("None", "Webhook")))
    webhook = conversion.get("webhook") or {}
    config = webhook.get("clientConfig")
    reviews = webhook.get("conversionReviewVersions") or []
    if strategy != "Webhook":
        for field, value in (("webhookClientConfig", config), ("conversionReviewVersions", reviews)):
            if value:
                text = "should not be set when strategy is not set to Webhook"
                found.append(causes.forbidden(f"{path}.{field}", text))
        return found
    where = f"{path}.webhookClientConfig"
    if config is None:
        found.append(causes.required(where, "required when strategy is set to Webhook"))
    else:
        found += check_client_config(config, where)
        if established and not _had_bad_bundle(old):
            found += _check_bundle(config, f"{where}.caBundle")
    return found + _check_review_versions(reviews, f"{path}.conversionReviewVersions")


def _check_bundle(config: Obj, path: str) -> list[Cause]:
    bundle = config.get("caBundle")
    if not bundle:
        return []
    try:
        return check_ca_bundle(base64.b64decode(bundle), path)
    except (binascii.Error, ValueError):
        return []


def _had_bad_bundle(old: Obj | None) -> bool:
    """What was wrong before may stay so."""
    conversion = ((old or {}).get("spec") or {}).get("conversion") or {}
    config = (conversion.get("webhook") or {}).get("clientConfig") or {}
    return bool(config.get("caBundle")) and bool(_check_bundle(config, "caBundle"))


def _check_review_versions(versions: list[str], path: str) -> list[Cause]:
    if not versions:
        return [causes.required(path)]
    found: list[Cause] = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        if version in seen:
            found.append(causes.invalid(f"{path}[{index}]", version, "duplicate version"))
            continue
        seen.add(version)
        found += [
            causes.invalid(f"{path}[{index}]", version, text) for text in names.check_dns1035_label(version)
        ]
    if not seen & set(_REVIEW_VERSIONS):
        text = f"must include at least one of {', '.join(_REVIEW_VERSIONS)}"
        found.append(causes.invalid(path, versions, text))
    return found


def _check_kept(spec: Obj, old: Obj) -> list[Cause]:
    before = old.get("spec") or {}
    called, was = spec.get("names") or {}, before.get("names") or {}
    found: list[Cause] = []

    def kept(path: str, new: Any, value: Any) -> None:
        if new != value:
            found.append(causes.invalid(path, new, "field is immutable"))

    if conditions.is_true(old, "Established"):
        kept("spec.scope", spec.get("scope"), before.get("scope"))
        kept("spec.names.kind", called.get("kind"), was.get("kind"))
    kept("spec.group", spec.get("group"), before.get("group"))
    kept("spec.names.plural", called.get("plural"), was.get("plural"))
    return found


def _check_stored(obj: Obj) -> list[Cause]:
    path = "status.storedVersions"
    stored = (obj.get("status") or {}).get("storedVersions")
    if not stored:
        return [causes.invalid(path, stored, "must have at least one stored version")]
    versions = (obj.get("spec") or {}).get("versions") or ()
    found = [
        causes.invalid(path, stored, f"must have the storage version {version['name']}")
        for version in versions
        if version.get("storage") and version.get("name") not in stored
    ]
    named = {version.get("name") for version in versions}
    for index, version in enumerate(stored):
        if version not in named:
            text = (
                f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {version} and removes "
                f"{version} from status.storedVersions"
            )
            found.append(causes.invalid(f"{path}[{index}]", version, text))
    return found


def _check_approval(obj: Obj, old: Obj | None) -> list[Cause]:
    if not is_protected((obj.get("spec") or {}).get("group") or ""):
        return []

    def said(one: Obj) -> str | None:
        value: str | None = (one["metadata"].get("annotations") or {}).get(ANNOTATION)
        return value

    state, why = approval_state(said(obj))
    if old is not None and approval_state(said(old))[0] is state:
        return []
    path = f"metadata.annotations[{ANNOTATION}]"
    if state is State.MISSING:
        return [causes.required(path, why)]
    if state is State.INVALID:
        return [causes.invalid(path, said(obj), why)]
    return []
