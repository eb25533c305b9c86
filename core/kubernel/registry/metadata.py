"""ObjectMeta: what the server sets, what it keeps, what it refuses.

Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go and
k8s.io/apiserver/pkg/registry/rest/{create,update}.go (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.errors import BadRequest, Cause, Invalid
from kubernel.objects import names
from kubernel.registry import causes
from kubernel.registry.decode_errors import Undecodable

if TYPE_CHECKING:
    import random

    from kubernel.clock import Clock
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Key, Obj

__all__ = [
    "ANNOTATIONS_LIMIT",
    "MANAGER_LENGTH",
    "SCHEME",
    "check_kind",
    "check_manager",
    "check_name_and_namespace",
    "check_namespace",
    "keep_reset",
    "keep_undeleted",
    "other_custom",
    "other_uid",
    "stamp_new",
    "stamp_update",
    "told_version",
    "unite_owners",
    "untold",
    "validate_metadata",
    "validate_new",
    "validate_update",
    "wipe_new",
]

ANNOTATIONS_LIMIT = 256 * 1024
"""Bytes that all keys and values of one object's annotations may have together."""

MANAGER_LENGTH = 128
"""Bytes of a field manager's name."""
_SUBRESOURCE_LENGTH = 256

_OF_CLIENTS = ("annotations", "finalizers", "labels", "ownerReferences")
"""Source: ``ResetObjectMetaForStatus`` of k8s.io/apimachinery/pkg/apis/meta/v1."""

_PLAIN_KEY = re.compile(
    r"^(?:[a-z0-9](?:[-a-z0-9.]{0,200}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
_PLAIN_VALUE = re.compile(r"^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")


# The same labels stand on most objects of a cluster.
@lru_cache(maxsize=4096)
def _plain(key: str, value: str = "") -> bool:
    """Whether a look is enough to know that both are good."""
    return _PLAIN_KEY.match(key) is not None and _PLAIN_VALUE.match(value) is not None


"""Variant and version of a random UUID (RFC 9562, 5.4)."""
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_OMITTED = ("annotations", "finalizers", "labels", "ownerReferences")
"""Fields that are not there when they are empty."""
SCHEME = "pkg/runtime/scheme.go:111"
"""Where upstream's registered kinds are declared; its messages name the place."""
_DELETION = ("deletionTimestamp", "deletionGracePeriodSeconds")
_NOT_BROUGHT = frozenset(
    (
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
        "uid",
    )
)
_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def check_kind(type: ResourceType, obj: Obj, api_version: str = "", kind: str = "") -> None:
    """The body must say what the path says; an absent apiVersion or kind is filled in from it.

    Client libraries send objects without either. Source: gvkWithDefaults in
    k8s.io/apimachinery/pkg/runtime/serializer/json.
    """
    api_version = api_version or type.api_version
    kind = kind or type.kind
    told_version, told_kind = obj.get("apiVersion"), obj.get("kind")
    if told_kind == kind and told_version == api_version:
        return
    if told_kind is None or told_kind == "":
        obj["kind"] = told_kind = kind
    if told_version is None or told_version == "":
        obj["apiVersion"] = told_version = api_version
    if type.custom and (api_version, kind) == (type.api_version, type.kind):
        _check_custom(type, obj)
        return
    if (told_version, told_kind) == (api_version, kind):
        return
    version = _version_of(told_version)
    why = f'no kind "{told_kind}" is registered for version "{told_version}" in scheme "{SCHEME}"'
    if _is_registered(type, told_version, told_kind):
        group = api_version.rpartition("/")[0].partition(".")[0] or "core"
        why = f"converting ({version}.{told_kind}) to ({group}.{kind}): unknown conversion"
    raise Undecodable(told_kind, version, kind, why)


def _is_registered(type: ResourceType, api_version: Any, kind: Any) -> bool:
    """Whether there is such a built-in kind at all, served or not."""
    source = type.schema().source
    if source is None or not isinstance(api_version, str) or not isinstance(kind, str):
        return False
    group, _, version = api_version.rpartition("/")
    try:
        source.definition_for(group, version, kind)
    except KeyError:
        return False
    return True


def _check_custom(type: ResourceType, obj: Obj) -> None:
    """A custom resource is not decoded into a type that could be another one's."""
    if obj["apiVersion"] != type.api_version:
        raise BadRequest(
            f"the API version in the data ({obj['apiVersion']}) does not match the expected API version "
            f"({type.api_version})"
        )
    if obj["kind"] != type.kind:
        raise other_custom(type, obj)


def other_custom(type: ResourceType, obj: Obj) -> Invalid:
    """The refusal of an object that says to be of another kind or version, in the name of what it says to be."""
    name = (obj.get("metadata") or {}).get("name") or ""
    group, slash, _ = obj["apiVersion"].rpartition("/")
    found = [
        causes.invalid(field, obj[field], f"must be {expected}")
        for field, expected in (("kind", type.kind), ("apiVersion", type.api_version))
        if obj[field] != expected
    ]
    return Invalid.for_object(obj["kind"], group if slash else "", name, found)


def _version_of(api_version: Any) -> str:
    return str(api_version).rpartition("/")[2]


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
    else:
        meta.pop("namespace", None)  # clients may say one, which means nothing
    return meta


def check_name_and_namespace(
    type: ResourceType, obj: Obj, namespace: str, name: str, *, needed: bool = False
) -> dict[str, Any]:
    """``check_namespace``, and the same for the path's name, which the object must have where it is ``needed``."""
    meta = check_namespace(type, obj, namespace)
    if name:
        told = meta.get("name") or ""
        if told and told != name:
            raise BadRequest(f"the name of the object ({told}) does not match the name on the URL ({name})")
        if needed and not told:
            raise BadRequest(
                f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )
        meta["name"] = name
    return meta


def unite_owners(meta: dict[str, Any], when: str = "") -> str:
    """Drop owner references that are there twice, in place. The warning to give, ``when`` in it; empty for none."""
    owners = meta.get("ownerReferences")
    if not owners or len(owners) < 2:
        return ""
    kept: list[Any] = []
    repeated: list[str] = []
    for owner in owners:
        if owner in kept:
            repeated.append(owner.get("uid") or "")
        else:
            kept.append(owner)
    if not repeated:
        return ""
    meta["ownerReferences"] = kept
    return (
        f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and "
        "may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        f"{', '.join(repeated)}"
    )


def wipe_new(meta: dict[str, Any]) -> None:
    """What a client may not bring."""
    if not _NOT_BROUGHT.isdisjoint(meta):
        for key in _NOT_BROUGHT:
            meta.pop(key, None)


def stamp_new(meta: dict[str, Any], clock: Clock, rng: random.Random) -> None:
    """What every new object gets: after the mutating half of admission, which does not know it."""
    meta["uid"] = names.uuid(rng)
    meta["creationTimestamp"] = rfc3339(clock.time())


def told_version(meta: dict[str, Any]) -> str:
    """The resourceVersion that a write demands; "0" demands none."""
    told = meta.get("resourceVersion") or ""
    return "" if told == "0" else told


def untold(meta: dict[str, Any]) -> list[str]:
    """What the server owns and a client did not send: the mutating half of admission does not see it either."""
    return [key for key in (*_SERVER_OWNED, "resourceVersion") if key not in meta]


def _keep(meta: dict[str, Any], old: dict[str, Any], keys: Iterable[str]) -> None:
    for key in keys:
        if key in old:
            meta[key] = old[key]
        else:
            meta.pop(key, None)


def keep_reset(meta: dict[str, Any], old: dict[str, Any], resets: Collection[str]) -> None:
    """Leave alone what clients write elsewhere and an endpoint with these ``Strategy.resets`` does not."""
    whole = "metadata" in resets
    _keep(meta, old, (key for key in _OF_CLIENTS if whole or f"metadata.{key}" in resets))


def keep_owned(meta: dict[str, Any], old: dict[str, Any]) -> None:
    _keep(meta, old, _SERVER_OWNED)
    meta["resourceVersion"] = old["resourceVersion"]


def keep_undeleted(meta: dict[str, Any], old: dict[str, Any]) -> None:
    """``keep_owned``, but that another time of deletion is left for ``validate_update`` to refuse."""
    told = {key: meta[key] for key in _DELETION if meta.get(key) is not None}
    if old.get("deletionTimestamp") is not None:
        told.pop("deletionTimestamp", None)
    keep_owned(meta, old)
    meta.update(told)


def stamp_update(meta: dict[str, Any], old: dict[str, Any]) -> None:
    """Server-owned fields stay as they are whatever the client sends; ``validate_update`` refuses another
    time of deletion."""
    meta.pop("selfLink", None)
    for key in _OMITTED:
        if key in meta and not meta[key]:
            del meta[key]
    keep_undeleted(meta, old)
    if "generateName" in old and "generateName" not in meta:
        meta["generateName"] = old["generateName"]
    managed = meta.get("managedFields")
    if managed is None and "managedFields" in old:
        # Absent means "leave alone"; an explicit empty list resets the tracking.
        meta["managedFields"] = old["managedFields"]


def validate_new(type: ResourceType, meta: dict[str, Any], found: list[Cause]) -> None:
    base = meta.get("generateName") or ""
    if base:
        found += causes.invalid_each("metadata.generateName", base, names.masked(type.check_name, base))
    name = meta.get("name") or ""
    if not name:
        found.append(causes.required("metadata.name", "name or generateName is required"))
    elif wrong := type.check_name(name):
        found += causes.invalid_each("metadata.name", name, wrong)
    if meta.get("generation", 0) < 0:
        told = "must be greater than or equal to 0"
        found.append(causes.invalid("metadata.generation", meta["generation"], told))
    _validate_common(meta, found)
    if meta.get("finalizers"):
        _validate_finalizers(meta, found, not (type.custom or type.strategy.any_finalizer))
    _validate_managers(meta, found)


def validate_update(
    type: ResourceType, meta: dict[str, Any], old: dict[str, Any], found: list[Cause]
) -> None:
    base = meta.get("generateName") or ""
    if base:
        found += causes.invalid_each("metadata.generateName", base, names.check_path_segment(base))
        if type.strategy.names_again:
            found += causes.invalid_each("metadata.generateName", base, names.masked(type.check_name, base))
    if old.get("deletionTimestamp"):
        known = old.get("finalizers") or ()
        added = sorted({entry for entry in meta.get("finalizers") or () if entry not in known})
        if added:
            listed = ", ".join(f'"{entry}"' for entry in added)
            told = (
                "Forbidden: no new finalizers can be added if the object is being deleted, found new "
                f"finalizers []string{{{listed}}}"
            )
            found.append(Cause("FieldValueForbidden", told, "metadata.finalizers"))
    found += [
        causes.invalid(f"metadata.{key}", meta[key], "field is immutable")
        for key in _DELETION
        if meta.get(key) != old.get(key)
    ]
    _validate_common(meta, found, old)
    if meta.get("finalizers") != old.get("finalizers"):
        _validate_finalizers(meta, found, not (type.custom or type.strategy.any_finalizer))
    _validate_managers(meta, found)


def validate_metadata(meta: dict[str, Any]) -> list[Cause]:
    """What is wrong with the metadata of an object that is no resource: names apart."""
    found: list[Cause] = []
    _validate_common(meta, found)
    _validate_finalizers(meta, found, False)
    return found


def _validate_common(meta: dict[str, Any], found: list[Cause], old: dict[str, Any] | None = None) -> None:
    labels = meta.get("labels")
    if labels and (old is None or old.get("labels") != labels):
        for label in labels.items():
            if not _plain(*label):
                key, value = label
                found += causes.invalid_each("metadata.labels", key, names.check_qualified_name(key))
                found += causes.invalid_each("metadata.labels", value, names.check_label_value(value))
    annotations = meta.get("annotations")
    if annotations and (old is None or old.get("annotations") != annotations):
        _validate_annotations(annotations, found)
    owners = meta.get("ownerReferences")
    if owners and (old is None or old.get("ownerReferences") != owners):
        _validate_owners(owners, found)


def _validate_managers(meta: dict[str, Any], found: list[Cause]) -> None:
    for position, entry in enumerate(meta.get("managedFields") or ()):
        path = f"metadata.managedFields[{position}]"
        found += check_manager(f"{path}.manager", entry.get("manager", ""))
        if len(entry.get("subresource", "").encode()) > _SUBRESOURCE_LENGTH:
            found.append(causes.too_long(f"{path}.subresource", _SUBRESOURCE_LENGTH))


def check_manager(field: str, name: str) -> list[Cause]:
    """What is wrong with a field manager's name."""
    if name.isascii() and name.isprintable() and len(name) <= MANAGER_LENGTH:
        return []
    found = []
    size = 0
    for character in name:
        if not character.isprintable():
            told = f"invalid character U+{ord(character):04X} (at position {size})"
            found.append(causes.invalid(field, name, told))
        size += len(character.encode())
    return [causes.too_long(field, MANAGER_LENGTH), *found] if size > MANAGER_LENGTH else found


def _validate_finalizers(meta: dict[str, Any], found: list[Cause], qualified: bool) -> None:
    """``qualified``: they must be known or have a domain."""
    finalizers = meta.get("finalizers")
    if not finalizers:
        return
    for entry in finalizers:
        found += causes.invalid_each("metadata.finalizers", entry, names.check_qualified_name(entry))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        told = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(causes.invalid("metadata.finalizers", finalizers, told))
    for position, entry in enumerate(finalizers if qualified else ()):
        if "/" not in entry and entry not in _STANDARD_FINALIZERS:
            told = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(causes.invalid(f"metadata.finalizers[{position}]", entry, told))


def _validate_annotations(annotations: dict[str, str], found: list[Cause]) -> None:
    size = 0
    for key, value in annotations.items():
        if not _plain(key):
            found += causes.invalid_each("metadata.annotations", key, names.check_qualified_name(key.lower()))
        size += len(key) + len(value) if key.isascii() and value.isascii() else len((key + value).encode())
    if size > ANNOTATIONS_LIMIT:
        found.append(causes.too_long("metadata.annotations", ANNOTATIONS_LIMIT))


_OWNER_FIELDS = ("apiVersion", "kind", "name", "uid")
_OWNER_FLAGS = ("controller", "blockOwnerDeletion")


def _shown_owner(owner: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {key: owner.get(key) or "" for key in _OWNER_FIELDS}
    shown.update((key, owner[key]) for key in _OWNER_FLAGS if owner.get(key) is not None)
    return shown


def _validate_owners(owners: list[dict[str, Any]], found: list[Cause]) -> None:
    first = ""
    for position, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{position}]"
        version, kind = owner.get("apiVersion") or "", owner.get("kind") or ""
        if version and (version.count("/") > 1 or version.endswith("/")):
            told = "must be <group>/<version> or <version>"
            found.append(causes.invalid(f"{path}.apiVersion", version, told))
        found += [
            causes.required(f"{path}.{key}", "must not be empty")
            for key in _OWNER_FIELDS
            if not owner.get(key)
        ]
        if (version, kind) == ("v1", "Event"):
            told = "/v1, Kind=Event is disallowed from being an owner"
            found.append(causes.invalid(path, _shown_owner(owner), told))
        if owner.get("controller"):
            current = f"{kind}/{owner.get('name') or ''}"
            if first:
                told = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{first} and {current}"
                )
                shown = [_shown_owner(one) for one in owners]
                found.append(causes.invalid("metadata.ownerReferences", shown, told))
            else:
                first = current


def other_uid(type: ResourceType, key: Key, uid: str, real: str) -> str:
    """Why an object with another uid is not written, as upstream's store words it."""
    plural = key.resource.partition(".")[0]
    group = type.group if type.custom else ""
    path = "".join(f"/{part}" for part in ("registry", group, plural, key.namespace, key.name) if part)
    return (
        f"StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {uid}, UID in object meta: {real}"
    )
