"""ObjectMeta: what the server sets, what it keeps, what it refuses.

Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go and
k8s.io/apiserver/pkg/registry/rest/{create,update}.go (v1.37).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.errors import BadRequest, Cause
from kubernel.objects import names

if TYPE_CHECKING:
    import random

    from kubernel.clock import Clock
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = [
    "ANNOTATIONS_LIMIT",
    "check_kind",
    "check_name_and_namespace",
    "check_namespace",
    "stamp_new",
    "stamp_update",
    "validate_metadata",
    "validate_new",
    "validate_update",
]

ANNOTATIONS_LIMIT = 256 * 1024
"""Bytes that all keys and values of one object's annotations may have together."""

_PLAIN_KEY = re.compile(
    r"^(?:[a-z0-9](?:[-a-z0-9.]{0,200}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
_PLAIN_VALUE = re.compile(r"^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
_UUID_RANDOM = ~(0xC000 << 48 | 0xF000 << 64)
_UUID_4 = 0x8000 << 48 | 4 << 76
"""Variant and version of a random UUID (RFC 9562, 5.4)."""
_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def check_kind(type: ResourceType, obj: Obj, api_version: str = "", kind: str = "") -> None:
    """The body must say what the path says; an absent apiVersion or kind is filled in from it.

    Client libraries send objects without either. Source: gvkWithDefaults in
    k8s.io/apimachinery/pkg/runtime/serializer/json.
    """
    api_version = api_version or type.api_version
    kind = kind or type.kind
    told_version, told_kind = obj.get("apiVersion"), obj.get("kind")
    if told_kind is None or told_kind == "":
        obj["kind"] = told_kind = kind
    if told_version is None or told_version == "":
        obj["apiVersion"] = told_version = api_version
    if told_version != api_version:
        raise BadRequest(
            f"the API version in the data ({told_version}) does not match the expected API version ({api_version})"
        )
    if told_kind != kind:
        raise BadRequest(
            f'{told_kind} in version "{type.version}" cannot be handled as a {kind}: converting (v1.{told_kind}) '
            f"to (v1.{kind}): unknown conversion"
        )


def check_namespace(type: ResourceType, obj: Obj, namespace: str) -> dict[str, Any]:
    """The object's metadata, with the path's namespace filled in; BadRequest on mismatch."""
    meta: dict[str, Any] | None = obj.get("metadata")
    if meta is None:
        meta = obj["metadata"] = {}
    if type.namespaced:
        told = meta.get("namespace") or ""
        if not told:
            meta["namespace"] = namespace
        elif told != namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    elif meta.get("namespace"):
        raise BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    else:
        meta.pop("namespace", None)
    return meta


def check_name_and_namespace(type: ResourceType, obj: Obj, namespace: str, name: str) -> dict[str, Any]:
    """``check_namespace``, and the same for the path's name."""
    meta = check_namespace(type, obj, namespace)
    if name:
        told = meta.get("name") or ""
        if told and told != name:
            raise BadRequest(f"the name of the object ({told}) does not match the name on the URL ({name})")
        meta["name"] = name
    return meta


def stamp_new(meta: dict[str, Any], clock: Clock, rng: random.Random) -> None:
    """What every new object gets, and what a client may not bring."""
    for key in (
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
        "resourceVersion",
    ):
        meta.pop(key, None)
    number = rng.getrandbits(128) & _UUID_RANDOM | _UUID_4
    text = f"{number:032x}"
    meta["uid"] = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    meta["creationTimestamp"] = rfc3339(clock.time())


def stamp_update(meta: dict[str, Any], old: dict[str, Any]) -> None:
    """Server-owned fields stay as they are whatever the client sends."""
    meta.pop("selfLink", None)
    for key in _SERVER_OWNED:
        if key in old:
            meta[key] = old[key]
        else:
            meta.pop(key, None)
    meta["resourceVersion"] = old["resourceVersion"]
    if "generateName" in old and "generateName" not in meta:
        meta["generateName"] = old["generateName"]
    managed = meta.get("managedFields")
    if managed is None and "managedFields" in old:
        # Absent means "leave alone"; an explicit empty list resets the tracking.
        meta["managedFields"] = old["managedFields"]


def validate_new(type: ResourceType, meta: dict[str, Any], causes: list[Cause]) -> None:
    name = meta.get("name") or ""
    if not name:
        causes.append(
            Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")
        )
    else:
        causes.extend(
            Cause("FieldValueInvalid", f'Invalid value: "{name}": {problem}', "metadata.name")
            for problem in type.check_name(name)
        )
    _validate_common(meta, causes)


def validate_update(meta: dict[str, Any], old: dict[str, Any], causes: list[Cause]) -> None:
    if meta.get("deletionTimestamp"):
        known = old.get("finalizers") or ()
        added = [entry for entry in meta.get("finalizers") or () if entry not in known]
        if added:
            listed = ", ".join(f'"{entry}"' for entry in added)
            causes.append(
                Cause(
                    "FieldValueForbidden",
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new "
                    f"finalizers []string{{{listed}}}",
                    "metadata.finalizers",
                )
            )
    _validate_common(meta, causes, old)


def validate_metadata(meta: dict[str, Any]) -> list[Cause]:
    """What is wrong with the metadata of an object that is no resource: names apart."""
    found: list[Cause] = []
    _validate_common(meta, found)
    return found


def _validate_common(meta: dict[str, Any], causes: list[Cause], old: dict[str, Any] | None = None) -> None:
    labels = meta.get("labels")
    if labels and (old is None or old.get("labels") != labels):
        for key, value in labels.items():
            if not _PLAIN_KEY.match(key):
                causes.extend(
                    Cause("FieldValueInvalid", f'Invalid value: "{key}": {problem}', "metadata.labels")
                    for problem in names.check_qualified_name(key)
                )
            if not _PLAIN_VALUE.match(value):
                causes.extend(
                    Cause("FieldValueInvalid", f'Invalid value: "{value}": {problem}', "metadata.labels")
                    for problem in names.check_label_value(value)
                )
    annotations = meta.get("annotations")
    if annotations and (old is None or old.get("annotations") != annotations):
        _validate_annotations(annotations, causes)
    owners = meta.get("ownerReferences")
    if owners:
        _validate_owners(owners, causes)
    finalizers = meta.get("finalizers")
    if finalizers and (old is None or old.get("finalizers") != finalizers):
        for position, entry in enumerate(finalizers):
            field = f"metadata.finalizers[{position}]"
            problems = names.check_qualified_name(entry)
            causes.extend(
                Cause("FieldValueInvalid", f'Invalid value: "{entry}": {problem}', field)
                for problem in problems
            )
            if (
                not problems
                and "/" not in entry
                and entry not in ("orphan", "foregroundDeletion", "kubernetes")
            ):
                causes.append(
                    Cause(
                        "FieldValueInvalid",
                        f'Invalid value: "{entry}": name is neither a standard finalizer name nor is it fully '
                        "qualified",
                        field,
                    )
                )
        if "orphan" in finalizers and "foregroundDeletion" in finalizers:
            causes.append(
                Cause(
                    "FieldValueInvalid",
                    f"Invalid value: {_go_strings(finalizers)}: finalizer foregroundDeletion and orphan cannot "
                    "both be present",
                    "metadata.finalizers",
                )
            )


def _validate_annotations(annotations: dict[str, str], causes: list[Cause]) -> None:
    size = 0
    for key, value in annotations.items():
        if not _PLAIN_KEY.match(key):
            causes.extend(
                Cause("FieldValueInvalid", f'Invalid value: "{key}": {problem}', "metadata.annotations")
                for problem in names.check_qualified_name(key.lower())
            )
        size += len(key) + len(value) if key.isascii() and value.isascii() else len((key + value).encode())
    if size > ANNOTATIONS_LIMIT:
        causes.append(
            Cause(
                "FieldValueTooLong",
                f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes",
                "metadata.annotations",
            )
        )


def _validate_owners(owners: list[dict[str, Any]], causes: list[Cause]) -> None:
    controllers = []
    for position, owner in enumerate(owners):
        for key, text in (
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ):
            if not owner.get(key):
                causes.append(
                    Cause(
                        "FieldValueInvalid",
                        f'Invalid value: "": {text}',
                        f"metadata.ownerReferences[{position}].{key}",
                    )
                )
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        first, second = controllers[0], controllers[1]
        causes.append(
            Cause(
                "FieldValueInvalid",
                f"Invalid value: {_go_strings([str(owner.get('name')) for owner in owners])}: Only one reference can "
                f'have Controller set to true. Found "true" in references for {first.get("kind")}/{first.get("name")} '
                f"and {second.get('kind')}/{second.get('name')}",
                "metadata.ownerReferences",
            )
        )


def _go_strings(values: list[str]) -> str:
    """A Go []string as upstream's messages print it: ``["a","b"]``."""
    return "[" + ",".join(f'"{value}"' for value in values) + "]"
