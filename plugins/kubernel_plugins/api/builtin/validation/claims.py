"""Persistent volumes and the claims to them."""

from __future__ import annotations

from typing import Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation import values
from kubernel_plugins.api.builtin.validation.internal import go_diff, go_equal, go_value
from kubernel_plugins.api.builtin.validation.resources import (
    amount,
    basic_quantity,
    is_native,
    positive_quantity,
    quantity_value,
)
from kubernel_plugins.api.builtin.validation.scheduling import node_selector
from kubernel_plugins.api.builtin.validation.values import Found, Obj, label_selector, named
from kubernel_plugins.api.builtin.validation.volumes import PERSISTENT_SOURCES, persistent_source

__all__ = [
    "claim_spec",
    "claim_status",
    "claim_template",
    "claim_update",
    "inline_volume_spec",
    "persistent_volume_spec",
    "persistent_volume_update",
]

_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")
_ALONE = "may not use ReadWriteOncePod with other access modes"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_RESIZES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizePending", "NodeResizeInProgress",
    "NodeResizeInfeasible",
)  # fmt: skip
_CLAIM = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def _access_modes(modes: list[str], path: str, found: Found) -> None:
    for mode in modes:
        if mode not in _ACCESS_MODES:
            found.append(causes.not_supported(path, mode, _ACCESS_MODES))
    known = [mode for mode in modes if mode in _ACCESS_MODES]
    if "ReadWriteOncePod" in known and any(mode != "ReadWriteOncePod" for mode in known):
        found.append(causes.forbidden(path, _ALONE))


def claim_template(template: Obj, path: str, found: Found) -> None:
    """The claim that an ephemeral volume gets."""
    meta = template.get("metadata") or {}
    values.annotation_keys(meta.get("annotations"), f"{path}.metadata.annotations", found)
    values.labels(meta.get("labels"), f"{path}.metadata.labels", found)
    for key, value in meta.items():
        if key not in ("annotations", "labels", "creationTimestamp") and value:
            found.append(causes.forbidden(f"{path}.metadata.{key}", "cannot be set"))
    claim_spec(template.get("spec") or {}, f"{path}.spec", found)


def claim_spec(
    spec: Obj, path: str, found: Found, *, any_value: bool = False, any_group: bool = False
) -> None:
    """The flags let through what was there before: label values and API groups that are none."""
    modes = spec.get("accessModes") or []
    if not modes:
        found.append(causes.required(f"{path}.accessModes", "at least 1 access mode is required"))
    label_selector(spec.get("selector"), f"{path}.selector", found, any_value=any_value)
    _access_modes(modes, f"{path}.accessModes", found)
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    where = f"{path}.resources[storage]"
    if size is None:
        found.append(causes.required(where))
    else:
        positive_quantity(size, where, found)
    if name := spec.get("storageClassName"):
        named(name, f"{path}.storageClassName", names.check_dns1123_subdomain, found)
    if (mode := spec.get("volumeMode")) is not None and mode not in _VOLUME_MODES:
        found.append(causes.not_supported(f"{path}.volumeMode", mode, _VOLUME_MODES))
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for key, one in (("dataSource", source), ("dataSourceRef", reference)):
        if one is not None:
            _data_source(one, f"{path}.{key}", any_group, found)
    _same_source(source, reference, path, found)
    if name := spec.get("volumeAttributesClassName"):
        named(name, f"{path}.volumeAttributesClassName", names.check_dns1123_subdomain, found)


def _data_source(source: Obj, path: str, any_group: bool, found: Found) -> None:
    values.required(source, path, found, "name", "kind")
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        told = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        found.append(causes.invalid(path, kind, told))
    if group and not any_group:
        named(group, f"{path}.apiGroup", names.check_dns1123_subdomain, found)
    if namespace := source.get("namespace"):
        named(namespace, f"{path}.namespace", names.check_dns1123_label, found)


def _same_source(source: Obj | None, reference: Obj | None, path: str, found: Found) -> None:
    # Upstream prints the other field's path as the value: a struct without exported fields.
    if source is None or reference is None:
        return
    if reference.get("namespace"):
        told = "may not be specified when dataSourceRef.namespace is specified"
        found.append(causes.invalid(path, {}, told))
    elif any(source.get(key) != reference.get(key) for key in ("apiGroup", "kind", "name")):
        found.append(causes.invalid(path, {}, "must match dataSourceRef"))


def _size(obj: Obj) -> Any:
    return ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage")


def claim_update(obj: Obj, old: Obj) -> Found:
    found: Found = []
    spec, before = obj["spec"], old["spec"]
    if spec == before and obj["metadata"].get("annotations") == old["metadata"].get("annotations"):
        return found
    bad: Found = []
    label_selector(before.get("selector"), "", bad)
    any_group = any(
        (before.get(key) or {}).get("apiGroup") is not None for key in ("dataSource", "dataSourceRef")
    )
    claim_spec(spec, "spec", found, any_value=bool(bad), any_group=any_group)
    masked, fixed = {**spec}, {**before}
    if not before.get("volumeName"):
        fixed["volumeName"] = spec.get("volumeName")
    _class_upgrade(obj, old, masked, found)
    bound = (obj.get("status") or {}).get("phase") == "Bound"
    resources = spec.get("resources") or {}
    if bound and resources.get("requests") is not None:
        requests = {**resources["requests"], "storage": _size(old) or "0"}
        masked["resources"] = {**resources, "requests": requests}
    if bound:
        masked["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
    if not go_equal("core.PersistentVolumeClaimSpec", masked, fixed):
        difference = go_diff("core.PersistentVolumeClaimSpec", fixed, masked)
        found.append(causes.forbidden("spec", f"{_CLAIM}\n{difference}"))
    capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage") or "0"
    new = amount(_size(obj) or "0")
    if new < amount(_size(old) or "0") and new <= amount(capacity):
        told = "field can not be less than status.capacity"
        found.append(causes.forbidden("spec.resources.requests.storage", told))
    if spec.get("volumeMode") != before.get("volumeMode"):
        found.append(causes.invalid("volumeMode", spec.get("volumeMode"), causes.FIELD_IMMUTABLE))
    name, had = spec.get("volumeAttributesClassName"), before.get("volumeAttributesClassName")
    current = (old.get("status") or {}).get("currentVolumeAttributesClassName")
    if name != had and current is not None and not name:
        what = "nil" if name is None else "empty string"
        told = f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
        found.append(causes.forbidden("spec.volumeAttributesClassName", told))
    return found


def _class_upgrade(obj: Obj, old: Obj, masked: Obj, found: Found) -> None:
    """A class may be given to a claim that has none, or move out of the annotation (KEP-3333)."""
    now, then = obj["metadata"].get("annotations") or {}, old["metadata"].get("annotations") or {}
    name, had, annotated = (
        obj["spec"].get("storageClassName"),
        old["spec"].get("storageClassName"),
        then.get(_BETA_CLASS),
    )
    from_annotation = (
        annotated is not None
        and had is None
        and name == annotated
        and now.get(_BETA_CLASS, annotated) == annotated
    )
    if from_annotation:
        masked["storageClassName"] = None
        return
    if now.get(_BETA_CLASS, "") != then.get(_BETA_CLASS, ""):
        where = f"metadata.annotations.{_BETA_CLASS}"
        found.append(causes.invalid(where, now.get(_BETA_CLASS, ""), causes.FIELD_IMMUTABLE))
    if name is not None and had is None and (annotated is None or name == annotated):
        masked["storageClassName"] = had


def claim_status(obj: Obj, old: Obj) -> Found:
    found: Found = []
    status = obj.get("status") or {}
    if not obj["spec"].get("accessModes"):
        found.append(causes.required("Spec.accessModes"))
    for name, text in (status.get("capacity") or {}).items():
        basic_quantity(text, f"status.capacity[{name}]", found)
    where = "status.allocatedResourceStatuses"
    for name, told in (status.get("allocatedResourceStatuses") or {}).items():
        _claim_resource(name, where, found)
        if told not in _RESIZES:
            found.append(causes.not_supported(where, name, sorted(_RESIZES)))
    where = "status.allocatedResources"
    for name, text in (status.get("allocatedResources") or {}).items():
        before = len(found)
        _claim_resource(name, where, found)
        if len(found) == before:
            basic_quantity(text, f"{where}[{name}]", found)
        if len(found) == before:
            quantity_value("storage", text, f"{where}[{name}]", found)
    return found


def _claim_resource(name: str, path: str, found: Found) -> None:
    before = len(found)
    named(name, path, names.check_qualified_name, found)
    if len(found) == before and is_native(name) and name != "storage":
        found.append(causes.not_supported(path, name, ("storage",)))


_INLINE = "in the context of inline volumes"


def inline_volume_spec(spec: Obj, path: str, found: Found) -> None:
    """What an attachment tells of a volume that has no object."""
    told = f"may not be specified {_INLINE}"
    if spec.get("claimRef") is not None:
        found.append(causes.forbidden(f"{path}.claimRef", told))
    if spec.get("capacity"):
        found.append(causes.forbidden(f"{path}.capacity", told))
    if spec.get("csi") is None:
        found.append(causes.required(f"{path}.csi", f"has to be specified {_INLINE}"))
    modes = spec.get("accessModes") or []
    if not modes:
        found.append(causes.required(f"{path}.accessModes"))
    _access_modes(modes, f"{path}.accessModes", found)
    if spec.get("persistentVolumeReclaimPolicy") not in (None, "", "Retain"):
        found.append(
            causes.forbidden(f"{path}.persistentVolumeReclaimPolicy", f"may only be Retain {_INLINE}")
        )
    if spec.get("nodeAffinity") is not None:
        found.append(causes.forbidden(f"{path}.nodeAffinity", told))
    persistent_source(spec, path, "", found)
    if spec.get("storageClassName"):
        found.append(causes.forbidden(f"{path}.storageClassName", told))
    if spec.get("volumeMode") not in (None, "Filesystem"):
        other = f"may not specify volumeMode other than Filesystem {_INLINE}"
        found.append(causes.forbidden(f"{path}.volumeMode", other))
    _attributes_class(spec, path, found)


def _attributes_class(spec: Obj, path: str, found: Found) -> None:
    klass = spec.get("volumeAttributesClassName")
    if klass is not None:
        where = f"{path}.volumeAttributesClassName"
        if not klass:
            found.append(causes.required(where, "an empty string is disallowed"))
        else:
            named(klass, where, names.check_dns1123_subdomain, found)
        if spec.get("csi") is None:
            told = "has to be specified when using volumeAttributesClassName"
            found.append(causes.required(f"{path}.csi", told))


def persistent_volume_spec(spec: Obj, name: str, path: str, found: Found, *, any_value: bool = False) -> None:
    modes = spec.get("accessModes") or []
    if not modes:
        found.append(causes.required(f"{path}.accessModes"))
    _access_modes(modes, f"{path}.accessModes", found)
    capacity = spec.get("capacity") or {}
    if not capacity:
        found.append(causes.required(f"{path}.capacity"))
    if "storage" not in capacity or len(capacity) > 1:
        shown = {key: capacity[key] for key in sorted(capacity)} if spec.get("capacity") is not None else None
        found.append(causes.not_supported(f"{path}.capacity", shown, ("storage",)))
    for key, text in capacity.items():
        basic_quantity(text, f"{path}.capacity[{key}]", found)
        positive_quantity(text, f"{path}.capacity[{key}]", found)
    if policy := spec.get("persistentVolumeReclaimPolicy"):
        values.one_of(policy, f"{path}.persistentVolumeReclaimPolicy", _RECLAIM, found)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        if affinity.get("required") is not None:
            where = f"{path}.nodeAffinity.required"
            node_selector(affinity["required"], where, found, any_value=any_value)
        else:
            told = "must specify required node constraints"
            found.append(causes.required(f"{path}.nodeAffinity.required", told))
    persistent_source(spec, path, name, found)
    if spec.get("local") is not None and affinity is None:
        found.append(causes.required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    host = (spec.get("hostPath") or {}).get("path") or ""
    if host and not host.strip("/") and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        told = "may not be 'recycle' for a hostPath mount of '/'"
        found.append(causes.forbidden(f"{path}.persistentVolumeReclaimPolicy", told))
    if klass := spec.get("storageClassName"):
        named(klass, f"{path}.storageClassName", names.check_dns1123_subdomain, found)
    if (mode := spec.get("volumeMode")) is not None:
        values.one_of(mode, f"{path}.volumeMode", _VOLUME_MODES, found)
    _attributes_class(spec, path, found)


def _source(spec: Obj) -> Obj:
    return {key: spec[key] for key in PERSISTENT_SOURCES if spec.get(key) is not None}


def persistent_volume_update(obj: Obj, old: Obj) -> Found:
    found: Found = []
    spec, before = obj["spec"], old["spec"]
    terms = ((before.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    any_value = any(
        names.check_label_value(value)
        for term in terms
        for rule in term.get("matchExpressions") or ()
        for value in rule.get("values") or ()
    )
    persistent_volume_spec(spec, obj["metadata"].get("name") or "", "spec", found, any_value=any_value)
    now, then = _source(spec), _source(before)
    secret = "controllerExpandSecretRef"  # noqa: S105 - a field's name
    if "csi" in now and "csi" in then and then["csi"].get(secret) is None:
        now["csi"] = {key: value for key, value in now["csi"].items() if key != secret}
    if not go_equal("core.PersistentVolumeSource", now, then):
        difference = go_diff("core.PersistentVolumeSource", then, now)
        told = f"spec.persistentvolumesource is immutable after creation\n{difference}"
        found.append(causes.forbidden("spec.persistentvolumesource", told))
    if spec.get("volumeMode") != before.get("volumeMode"):
        found.append(causes.invalid("volumeMode", spec.get("volumeMode"), causes.FIELD_IMMUTABLE))
    if before.get("nodeAffinity") is not None and not _same_affinity(spec, before):
        shown = go_value("core.VolumeNodeAffinity", spec.get("nodeAffinity"))
        told = f"{causes.FIELD_IMMUTABLE}, except for updating from beta label to GA"
        found.append(causes.invalid("nodeAffinity", shown, told))
    if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        told = "update from non-nil value to nil is forbidden"
        found.append(causes.forbidden("spec.volumeAttributesClassName", told))
    return found


_GA_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def _same_affinity(spec: Obj, before: Obj) -> bool:
    now, then = spec.get("nodeAffinity"), before["nodeAffinity"]
    if now == then:
        return True
    if now is None:
        return False
    new = (now.get("required") or {}).get("nodeSelectorTerms") or []
    old = (then.get("required") or {}).get("nodeSelectorTerms") or []
    if len(new) != len(old):
        return False
    return all(_same_term(one, was) for one, was in zip(new, old, strict=True))


def _same_term(term: Obj, was: Obj) -> bool:
    for kind in ("matchExpressions", "matchFields"):
        new, old = term.get(kind) or [], was.get(kind) or []
        if len(new) != len(old):
            return False
        for one, before in zip(new, old, strict=True):
            key = before.get("key")
            if one.get("key") != key and _GA_LABELS.get(key or "") == one.get("key"):
                before = {**before, "key": one.get("key")}
            if one != before:
                return False
    return True
