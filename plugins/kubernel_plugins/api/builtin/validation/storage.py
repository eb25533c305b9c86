"""Storage classes, CSI drivers and nodes, attachments, capacities.

Source: pkg/apis/storage/validation (v1.37).
"""

from __future__ import annotations

import re
from typing import Any

from kubernel.objects import names, quantity
from kubernel.objects.conditions import is_true
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.claims import inline_volume_spec
from kubernel_plugins.api.builtin.validation.conditions import conditions
from kubernel_plugins.api.builtin.validation.devices import caseless_driver
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.resources import amount
from kubernel_plugins.api.builtin.validation.values import (
    MAX_INT32,
    NEGATIVE,
    Found,
    Obj,
    label_key,
    label_selector,
    named,
    not_negative,
    optional_one_of,
)
from kubernel_plugins.api.builtin.validation.volumes import csi_driver_name

__all__ = [
    "attachment",
    "attachment_update",
    "attributes_class",
    "attributes_class_update",
    "capacity",
    "capacity_update",
    "csi_driver",
    "csi_driver_update",
    "csi_node",
    "csi_node_update",
    "migration",
    "migration_status",
    "migration_update",
    "storage_class",
    "storage_class_update",
]

_MOST_PARAMETERS = 512
_MOST_PARAMETER_BYTES = 256 * 1024
_LONGEST_NODE_ID = 256
_LONGEST_ERROR = 1024
_MOST_METADATA = 256 * 1024
_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES = ("Persistent", "Ephemeral")
_resource_version = re.compile("0|[1-9][0-9]*")
_ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


def _driver(name: str, path: str, found: Found) -> None:
    if name:
        named(name.lower(), path, names.check_qualified_name, found)
    else:
        found.append(causes.required(path))


def _parameters(parameters: Obj, path: str, found: Found) -> None:
    if len(parameters) > _MOST_PARAMETERS:
        found.append(causes.too_long(path, _MOST_PARAMETERS))
        return
    if "" in parameters:
        found.append(causes.invalid(path, "", "field can not be empty."))
    if (
        sum(len(key.encode()) + len(text.encode()) for key, text in parameters.items())
        > _MOST_PARAMETER_BYTES
    ):
        found.append(causes.too_long(path, _MOST_PARAMETER_BYTES))


def storage_class(obj: Obj) -> Found:
    found: Found = []
    _driver(obj.get("provisioner") or "", "provisioner", found)
    _parameters(obj.get("parameters") or {}, "parameters", found)
    for key, supported in (
        ("reclaimPolicy", ("Delete", "Retain")),
        ("volumeBindingMode", ("Immediate", "WaitForFirstConsumer")),
    ):
        given = obj.get(key) or (None if key == "reclaimPolicy" else obj.get(key))
        if given is not None and given not in supported:
            found.append(causes.not_supported(key, given, supported))
    if obj.get("volumeBindingMode") is None:
        found.append(causes.required("volumeBindingMode"))
    seen: list[Any] = [{}] * len(obj.get("allowedTopologies") or ())
    for index, term in enumerate(obj.get("allowedTopologies") or ()):
        path = f"allowedTopologies[{index}].matchLabelExpressions"
        asked = _topology(term, path, found)
        found += [causes.duplicate(path, "") for one in seen if one == asked]
        seen.append(asked)
    return found


def _topology(term: Obj, path: str, found: Found) -> dict[str, set[str]]:
    asked: dict[str, set[str]] = {}
    for index, rule in enumerate(term.get("matchLabelExpressions") or ()):
        where, key, values = f"{path}[{index}]", rule.get("key") or "", rule.get("values") or ()
        if not values:
            found.append(causes.required(f"{where}.values"))
        known: set[str] = set()
        for number, value in enumerate(values):
            if value in known:
                found.append(causes.duplicate(f"{where}.values[{number}]", value))
            known.add(value)
        label_key(key, f"{where}.key", found)
        if key in asked:
            found.append(causes.duplicate(f"{where}.key", key))
        asked[key] = known
    return asked


def storage_class_update(obj: Obj, old: Obj) -> Found:
    return storage_class(obj) + [
        causes.invalid(key, None, causes.FIELD_IMMUTABLE)
        for key in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")
        if (obj.get(key) or None) != (old.get(key) or None)
    ]


def attributes_class(obj: Obj) -> Found:
    found: Found = []
    parameters = obj.get("parameters") or {}
    _driver(obj.get("driverName") or "", "driverName", found)
    _parameters(parameters, "parameters", found)
    if not parameters:
        found.append(causes.required("parameters", "must contain at least one key/value pair"))
    return found


def attributes_class_update(obj: Obj, old: Obj) -> Found:
    found = [
        causes.forbidden(key, f"updates to {key} are forbidden.")
        for key in ("driverName", "parameters")
        if obj.get(key) != old.get(key)
    ]
    return found + attributes_class(obj)


def csi_driver(obj: Obj) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    optional_one_of(spec, "fsGroupPolicy", "spec", _GROUP_POLICIES, found)
    requests = spec.get("tokenRequests") or ()
    seen: set[str] = set()
    for index, request in enumerate(requests):
        path, audience = f"spec.tokenRequests[{index}]", request.get("audience") or ""
        seconds, where = request.get("expirationSeconds"), f"{path}.expirationSeconds"
        if audience in seen:
            found.append(causes.duplicate(f"{path}.audience", audience))
            continue
        seen.add(audience)
        if seconds is not None and seconds < 600:
            told = "may not specify a duration less than 10 minutes"
            found.append(causes.invalid(where, seconds, told))
        if seconds is not None and seconds > 1 << 32:
            told = "may not specify a duration larger than 2^32 seconds"
            found.append(causes.invalid(where, seconds, told))
    found += [
        causes.not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES)
        for mode in spec.get("volumeLifecycleModes") or ()
        if mode not in _LIFECYCLES
    ]
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        told = "must be greater than or equal to 10 seconds"
        found.append(causes.invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, told))
    in_secrets = spec.get("serviceAccountTokenInSecrets")
    if in_secrets is not None and not requests:
        told = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        found.append(causes.invalid("spec.serviceAccountTokenInSecrets", in_secrets, told))
    return found


def csi_driver_update(obj: Obj, old: Obj) -> Found:
    found = csi_driver(obj)
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if spec.get("attachRequired") != before.get("attachRequired"):
        # Upstream's path has this typing error.
        found.append(
            causes.invalid("spec.attachedRequired", spec.get("attachRequired"), causes.FIELD_IMMUTABLE)
        )
    modes = spec.get("volumeLifecycleModes")
    if modes != before.get("volumeLifecycleModes"):
        found.append(causes.invalid("spec.volumeLifecycleModes", modes, causes.FIELD_IMMUTABLE))
    return found


def csi_node(obj: Obj) -> Found:
    found: Found = []
    taken: set[str] = set()
    for index, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        path, name, node = f"spec.drivers[{index}]", driver.get("name") or "", driver.get("nodeID") or ""
        csi_driver_name(name, f"{path}.name", found)
        if not node:
            found.append(causes.required(f"{path}.nodeID"))
        if len(node.encode()) > _LONGEST_NODE_ID:
            told = f"must be {_LONGEST_NODE_ID} characters or less"
            found.append(causes.invalid(f"{path}.nodeID", node, told))
        not_negative(driver.get("allocatable") or {}, f"{path}.allocatable", found, "count")
        if name in taken:
            found.append(causes.duplicate(f"{path}.name", name))
        taken.add(name)
        keys: set[str] = set()
        for key in driver.get("topologyKeys") or ():
            if not key:
                found.append(causes.required(path))
            if key in keys:
                found.append(causes.duplicate(path, key))
            keys.add(key)
            named(key, path, names.check_qualified_name, found)
    return found


def csi_node_update(obj: Obj, old: Obj) -> Found:
    found = csi_node(obj)
    for before in (old.get("spec") or {}).get("drivers") or ():
        for driver in (obj.get("spec") or {}).get("drivers") or ():
            fixed, was = ({**one, "allocatable": None} for one in (driver, before))
            if driver.get("name") == before.get("name") and fixed != was:
                shown = go_value("storage.CSINodeDriver", fixed)
                found.append(causes.invalid("spec.drivers", shown, causes.FIELD_IMMUTABLE))
    return found


def attachment(obj: Obj, *, declared: bool = True) -> Found:
    """``declared``: the declared rules are asked too, which say the same of the attacher in other words."""
    found: Found = []
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    (caseless_driver if declared else csi_driver_name)(spec.get("attacher") or "", "spec.attacher", found)
    source = spec.get("source") or {}
    volume, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if volume is None and inline is None:
        found.append(causes.required("spec.source", _ONE_SOURCE))
    elif volume is not None and inline is not None:
        found.append(causes.forbidden("spec.source", _ONE_SOURCE))
    elif volume == "":
        told = "must specify non empty persistentVolumeName"
        found.append(causes.required("spec.source.persistentVolumeName", told))
    elif inline is not None:
        inline_volume_spec(inline, "spec.source.inlineVolumeSpec", found)
    named(spec.get("nodeName") or "", "spec.nodeName", names.check_dns1123_subdomain, found)
    metadata = status.get("attachmentMetadata") or {}
    if sum(len(key.encode()) + len(text.encode()) for key, text in metadata.items()) > _MOST_METADATA:
        found.append(causes.too_long("status.attachmentMetadata", _MOST_METADATA))
    for key in ("attachError", "detachError"):
        error = status.get(key) or {}
        if len((error.get("message") or "").encode()) > _LONGEST_ERROR:
            found.append(causes.too_long(f"status.{key}.message", _LONGEST_ERROR))
        if (error.get("errorCode") or 0) < 0:
            told = f"must be between 0 and {MAX_INT32}, inclusive"
            found.append(causes.invalid(f"status.{key}.errorCode", error["errorCode"], told))
    if volume is not None:
        named(volume, "spec.source.persistentVolumeName", names.check_dns1123_subdomain, found)
    return found


def attachment_update(obj: Obj, old: Obj) -> Found:
    # A spec that changed is refused before the declared rules look into it.
    found = attachment(obj, declared=False)
    if obj.get("spec") != old.get("spec"):
        found.append(causes.invalid("spec", None, causes.FIELD_IMMUTABLE))
    return found


def capacity(obj: Obj) -> Found:
    found: Found = []
    label_selector(obj.get("nodeTopology"), "nodeTopology", found)
    named(obj.get("storageClassName") or "", "storageClassName", names.check_dns1123_subdomain, found)
    size = obj.get("capacity")
    if size is not None and amount(size) < 0:
        found.append(causes.invalid("capacity", quantity.canonical(size), NEGATIVE))
    return found


def capacity_update(obj: Obj, old: Obj) -> Found:
    found = capacity(obj)
    if obj.get("nodeTopology") != old.get("nodeTopology"):
        shown = go_value("metav1.LabelSelector", obj.get("nodeTopology"))
        found.append(causes.invalid("nodeTopology", shown, causes.FIELD_IMMUTABLE))
    if obj.get("storageClassName") != old.get("storageClassName"):
        shown = obj.get("storageClassName") or ""
        found.append(causes.invalid("storageClassName", shown, causes.FIELD_IMMUTABLE))
    return found


def migration(obj: Obj) -> Found:
    found: Found = []
    resource = (obj.get("spec") or {}).get("resource") or {}
    checks = (("resource", names.check_dns1035_label), ("group", names.check_dns1123_subdomain))
    if not resource.get("resource"):
        found.append(causes.required("spec.resource.resource", "resource is required to be set"))
    for key, check in checks:
        if resource.get(key) and (problems := check(resource[key])):
            found.append(causes.invalid(f"spec.resource.{key}", resource[key], ",".join(problems)))
    return found


def migration_update(obj: Obj, old: Obj) -> Found:
    found = migration(obj)
    type = "storagemigration.StorageVersionMigrationSpec"
    if obj.get("spec") != old.get("spec"):
        found.append(causes.invalid("spec", go_value(type, obj.get("spec") or {}), causes.FIELD_IMMUTABLE))
    return found


def migration_status(obj: Obj, old: Obj) -> Found:
    """Source: pkg/apis/storagemigration/validation."""
    found: Found = []
    status, before = obj.get("status") or {}, old.get("status") or {}
    version, path = status.get("resourceVersion") or "", "status.resourceVersion"
    if version and not _resource_version.fullmatch(version):
        found.append(causes.invalid(path, version, f"resource version is not well formed: {version}"))
    listed = status.get("conditions") or []
    conditions(listed, "status.conditions", found)
    if before.get("resourceVersion") and version != before["resourceVersion"]:
        found.append(causes.invalid(path, version, causes.FIELD_IMMUTABLE))
    now, then = ({type: is_true(each, type) for type in ("Succeeded", "Failed")} for each in (obj, old))
    told = []
    if all(now.values()):
        told.append("Both success and failed conditions cannot be true at the same time")
    for type, word in (("Succeeded", "Success"), ("Failed", "Failed")):
        if then[type] and not now[type]:
            told.append(f"{word} condition cannot be set to false once it is true")
    shown = go_value("metav1.Condition", listed)
    return found + causes.invalid_each("status.conditions", shown, told)
