"""Sources of volumes, of pods and of persistent volumes.

``_RULES`` has the plain ones as data; what depends on several fields is a function below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kubernel.objects import names, quantity
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.downward import downward_file
from kubernel_plugins.api.builtin.validation.projections import projection_sources
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    between,
    named,
    no_back_steps,
    one_of,
    relative_path,
    relative_unreserved_path,
    required,
)

__all__ = ["PERSISTENT_SOURCES", "csi_driver_name", "persistent_source", "pod_volumes"]

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_ONE = "may not specify more than 1 volume type"
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_HOST_PATHS = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_IQN = re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9.-]+)(:[^,;*&$|\s]+)$", re.ASCII)
_EUI = re.compile(r"^eui.[a-zA-Z0-9]{16}$")
_NAA = re.compile(r"^naa.[a-zA-Z0-9]{32}$")
_SHARED_PORTAL = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
    "specified."
)

Rule = Callable[[Obj, str, Found], None]


def _mode(value: int | None, path: str, found: Found) -> None:
    if value is not None and not 0 <= value <= 0o777:
        found.append(causes.invalid(path, value, _MODE))


def _host_path(source: Obj, path: str, found: Found) -> None:
    where = source.get("path") or ""
    if not where:
        found.append(causes.required(f"{path}.path"))
        return
    no_back_steps(where, f"{path}.path", found)
    if source.get("type") is not None:
        one_of(source["type"], f"{path}.type", _HOST_PATHS, found)


def _git_repo(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "repository")
    relative_path(source.get("directory") or "", f"{path}.directory", found)


def _empty_dir(source: Obj, path: str, found: Found) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.parse(limit) < 0:
        found.append(
            causes.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")
        )


def _disk(key: str) -> Rule:
    def rule(source: Obj, path: str, found: Found) -> None:
        required(source, path, found, key)
        partition = source.get("partition") or 0
        if not 0 <= partition <= 255:
            found.append(
                causes.invalid(f"{path}.partition", partition, "must be between 1 and 255, inclusive")
            )

    return rule


def _keys_to_paths(source: Obj, path: str, found: Found) -> None:
    _mode(source.get("defaultMode"), f"{path}.defaultMode", found)
    for index, item in enumerate(source.get("items") or ()):
        key_to_path(item, f"{path}.items[{index}]", found)


def key_to_path(item: Obj, path: str, found: Found) -> None:
    required(item, path, found, "key", "path")
    relative_unreserved_path(item.get("path") or "", f"{path}.path", found)
    _mode(item.get("mode"), f"{path}.mode", found)


def _secret(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "secretName")
    _keys_to_paths(source, path, found)


def _config_map(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "name")
    _keys_to_paths(source, path, found)


def _downward_api(source: Obj, path: str, found: Found) -> None:
    _mode(source.get("defaultMode"), f"{path}.defaultMode", found)
    for file in source.get("items") or ():
        downward_file(file, path, found)


def _projected(source: Obj, path: str, found: Found) -> None:
    _mode(source.get("defaultMode"), f"{path}.defaultMode", found)
    projection_sources(source.get("sources") or (), path, key_to_path, found)


def _nfs(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "server", "path")
    where = source.get("path") or ""
    if not where.startswith("/"):
        found.append(causes.invalid(f"{path}.path", where, "must be an absolute path"))


def _iscsi_name(value: str, path: str, starting: str, found: Found) -> None:
    for prefix, pattern in (("iqn", _IQN), ("eui", _EUI), ("naa", _NAA)):
        if value.startswith(prefix):
            if not pattern.search(value):
                found.append(causes.invalid(path, value, "must be valid format"))
            return
    found.append(causes.invalid(path, value, starting))


def _iscsi(*, persistent: bool) -> Rule:
    starting = "must be valid format" if persistent else "must be valid format starting with iqn, eui, or naa"

    def rule(source: Obj, path: str, found: Found) -> None:
        required(source, path, found, "targetPortal")
        if not source.get("iqn"):
            found.append(causes.required(f"{path}.iqn"))
        else:
            _iscsi_name(source["iqn"], f"{path}.iqn", starting, found)
        between(source.get("lun") or 0, f"{path}.lun", 0, 255, found)
        secret = source.get("secretRef")
        if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and secret is None:
            found.append(causes.required(f"{path}.secretRef"))
        if persistent and secret is not None:
            required(secret, f"{path}.secretRef", found, "name")
        if source.get("initiatorName") is not None:
            _iscsi_name(source["initiatorName"], f"{path}.initiatorname", starting, found)

    return rule


def _fc(source: Obj, path: str, found: Found) -> None:
    targets, wwids, lun = source.get("targetWWNs"), source.get("wwids"), source.get("lun")
    where = f"{path}.targetWWNs"
    if not targets and not wwids:
        found.append(causes.required(where, "must specify either targetWWNs or wwids, but not both"))
    if targets and wwids:
        told = "targetWWNs and wwids can not be specified simultaneously"
        found.append(causes.invalid(where, targets, told))
    if targets:
        if lun is None:
            found.append(causes.required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        else:
            between(lun, f"{path}.lun", 0, 255, found)


def _quobyte(source: Obj, path: str, found: Found) -> None:
    pairs = "must be a host:port pair or multiple pairs separated by commas"
    registry = source.get("registry") or ""
    if not registry:
        found.append(causes.required(f"{path}.registry", pairs))
    elif len(source.get("tenant") or "") >= 65:
        told = "must be a UUID and may not exceed a length of 64 characters"
        found.append(causes.required(f"{path}.tenant", told))
    else:
        for pair in registry.split(","):
            if not re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*", pair):
                found.append(causes.invalid(f"{path}.registry", registry, pairs))
    required(source, path, found, "volume")


def _glusterfs(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "endpoints", "path")
    namespace = source.get("endpointsNamespace")
    where = f"{path}.endpointsNamespace"
    if namespace == "":
        told = "if the endpointnamespace is set, it must be a valid namespace name"
        found.append(causes.invalid(where, namespace, told))
    elif namespace is not None:
        named(namespace, where, names.check_dns1123_label, found)


def _flocker(source: Obj, path: str, found: Found) -> None:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID")
    if not name and not uuid:
        found.append(causes.required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        told = "datasetName and datasetUUID can not be specified simultaneously"
        found.append(causes.invalid(path, "resource", told))
    if "/" in name:
        found.append(causes.invalid(f"{path}.datasetName", name, "must not contain '/'"))


def _flex(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "driver")
    for key in source.get("options") or ():
        normal = "." + key.partition("/")[0].lower()
        if normal.endswith((".kubernetes.io", ".k8s.io")):
            told = "kubernetes.io and k8s.io namespaces are reserved"
            found.append(causes.invalid(f"{path}.options[{key}]", key, told))


def _azure_disk(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "diskName", "diskURI")
    if source.get("cachingMode") is not None:
        one_of(source["cachingMode"], f"{path}.cachingMode", ("None", "ReadOnly", "ReadWrite"), found)
    kind, uri = source.get("kind"), source.get("diskURI") or ""
    if kind is None:
        return
    one_of(kind, f"{path}.kind", ("Dedicated", "Managed", "Shared"), found)
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        where = (
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
        found.append(causes.not_supported(f"{path}.diskURI", uri, where))
    if kind != "Managed" and not uri.startswith("https://"):
        where = ("https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",)
        found.append(causes.not_supported(f"{path}.diskURI", uri, where))


def _with_secret(*keys: str, namespaced: bool = False) -> Rule:
    """``keys`` are required; so are the parts of a ``secretRef`` that is there."""

    def rule(source: Obj, path: str, found: Found) -> None:
        required(source, path, found, *keys)
        secret = source.get("secretRef")
        if secret is not None:
            parts = ("name", "namespace") if namespaced else ("name",)
            required(secret, f"{path}.secretRef", found, *parts)

    return rule


def _needs(*keys: str) -> Rule:
    def rule(source: Obj, path: str, found: Found) -> None:
        required(source, path, found, *keys)

    return rule


def _storage_os(*, namespaced: bool) -> Rule:
    secret = _with_secret(namespaced=namespaced)

    def rule(source: Obj, path: str, found: Found) -> None:
        if not source.get("volumeName"):
            found.append(causes.required(f"{path}.volumeName"))
        else:
            named(source["volumeName"], f"{path}.volumeName", names.check_dns1123_label, found)
        if source.get("volumeNamespace"):
            named(source["volumeNamespace"], f"{path}.volumeNamespace", names.check_dns1123_label, found)
        secret(source, path, found)

    return rule


def csi_driver_name(name: str, path: str, found: Found) -> None:
    if not name:
        found.append(causes.required(path))
        return
    if len(name) > 63:
        found.append(causes.too_long(path, 63))
    found += causes.invalid_each(path, name, names.check_dns1123_subdomain(name.lower()))


def _csi(source: Obj, path: str, found: Found) -> None:
    csi_driver_name(source.get("driver") or "", f"{path}.driver", found)
    secret = source.get("nodePublishSecretRef")
    if secret is not None:
        if not secret.get("name"):
            found.append(causes.required(f"{path}.nodePublishSecretRef.name"))
        else:
            named(secret["name"], f"{path}.name", names.check_dns1123_subdomain, found)


_PERSISTENT_CSI_SECRETS = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
)


def _persistent_csi(source: Obj, path: str, found: Found) -> None:
    csi_driver_name(source.get("driver") or "", f"{path}.driver", found)
    required(source, path, found, "volumeHandle")
    for key in _PERSISTENT_CSI_SECRETS:
        secret = source.get(key)
        if secret is None:
            continue
        for part, check in (
            ("name", names.check_dns1123_subdomain),
            ("namespace", names.check_dns1123_label),
        ):
            if not secret.get(part):
                found.append(causes.required(f"{path}.{key}.{part}"))
            else:
                named(secret[part], f"{path}.{key}.{part}", check, found)


def _azure_file(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "secretName", "shareName")


def _persistent_azure_file(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "secretName", "shareName")
    if source.get("secretNamespace") == "":
        found.append(causes.required(f"{path}.secretNamespace"))


def _local(source: Obj, path: str, found: Found) -> None:
    if not source.get("path"):
        found.append(causes.required(f"{path}.path"))
    else:
        no_back_steps(source["path"], f"{path}.path", found)


def _image(source: Obj, path: str, found: Found) -> None:
    required(source, path, found, "reference")
    policy = source.get("pullPolicy") or ""
    if not policy:
        found.append(causes.required(f"{path}.pullPolicy"))
    else:
        one_of(policy, f"{path}.pullPolicy", _PULL_POLICIES, found)


def _ephemeral(source: Obj, path: str, found: Found) -> None:
    template = source.get("volumeClaimTemplate")
    where = f"{path}.volumeClaimTemplate"
    if template is None:
        found.append(causes.required(where))
        return
    # Claims have volumes' rules in them, and pods' volumes have claims'.
    from kubernel_plugins.api.builtin.validation.claims import claim_template

    claim_template(template, where, found)


_cinder = _with_secret("volumeID")
_ceph = _needs("monitors")
_scale_io = _needs("gateway", "system", "volumeName")

_POD: Mapping[str, tuple[str, str, Rule]] = {
    "emptyDir": ("emptyDir", "emptyDir", _empty_dir),
    "hostPath": ("hostPath", "hostPath", _host_path),
    "gitRepo": ("gitRepo", "gitRepo", _git_repo),
    "gcePersistentDisk": ("gcePersistentDisk", "persistentDisk", _disk("pdName")),
    "awsElasticBlockStore": ("awsElasticBlockStore", "awsElasticBlockStore", _disk("volumeID")),
    "secret": ("secret", "secret", _secret),
    "nfs": ("nfs", "nfs", _nfs),
    "iscsi": ("iscsi", "iscsi", _iscsi(persistent=False)),
    "glusterfs": ("glusterfs", "glusterfs", _needs("endpoints", "path")),
    "flocker": ("flocker", "flocker", _flocker),
    "persistentVolumeClaim": ("persistentVolumeClaim", "persistentVolumeClaim", _needs("claimName")),
    "rbd": ("rbd", "rbd", _needs("monitors", "image")),
    "cinder": ("cinder", "cinder", _cinder),
    "cephfs": ("cephFS", "cephfs", _ceph),
    "quobyte": ("quobyte", "quobyte", _quobyte),
    "downwardAPI": ("downwarAPI", "downwardAPI", _downward_api),
    "fc": ("fc", "fc", _fc),
    "flexVolume": ("flexVolume", "flexVolume", _flex),
    "configMap": ("configMap", "configMap", _config_map),
    "azureFile": ("azureFile", "azureFile", _azure_file),
    "vsphereVolume": ("vsphereVolume", "vsphereVolume", _needs("volumePath")),
    "photonPersistentDisk": ("photonPersistentDisk", "photonPersistentDisk", _needs("pdID")),
    "portworxVolume": ("portworxVolume", "portworxVolume", _needs("volumeID")),
    "azureDisk": ("azureDisk", "azureDisk", _azure_disk),
    "storageos": ("storageos", "storageos", _storage_os(namespaced=False)),
    "projected": ("projected", "projected", _projected),
    "scaleIO": ("scaleIO", "scaleIO", _scale_io),
    "csi": ("csi", "csi", _csi),
    "ephemeral": ("ephemeral", "ephemeral", _ephemeral),
    "image": ("image", "image", _image),
}
"""A source's field -> (its name in "more than 1", its path in its own rules, its rule), in upstream's order; the
names are upstream's, slips included."""

PERSISTENT_SOURCES: Mapping[str, tuple[str, str, Rule]] = {
    "hostPath": _POD["hostPath"],
    "gcePersistentDisk": _POD["gcePersistentDisk"],
    "awsElasticBlockStore": _POD["awsElasticBlockStore"],
    "glusterfs": ("glusterfs", "glusterfs", _glusterfs),
    "flocker": _POD["flocker"],
    "nfs": _POD["nfs"],
    "rbd": _POD["rbd"],
    "quobyte": _POD["quobyte"],
    "cephfs": _POD["cephfs"],
    "iscsi": ("iscsi", "iscsi", _iscsi(persistent=True)),
    "cinder": ("cinder", "cinder", _with_secret("volumeID", namespaced=True)),
    "fc": _POD["fc"],
    "flexVolume": _POD["flexVolume"],
    "azureFile": ("azureFile", "azureFile", _persistent_azure_file),
    "vsphereVolume": _POD["vsphereVolume"],
    "photonPersistentDisk": _POD["photonPersistentDisk"],
    "portworxVolume": _POD["portworxVolume"],
    "azureDisk": _POD["azureDisk"],
    "scaleIO": _POD["scaleIO"],
    "local": ("local", "local", _local),
    "storageos": ("storageos", "storageos", _storage_os(namespaced=True)),
    "csi": ("csi", "csi", _persistent_csi),
}


def _sources(obj: Obj, path: str, table: Mapping[str, tuple[str, str, Rule]], found: Found) -> list[str]:
    """The sources that are set, in upstream's order; exactly one may be."""
    given = [key for key in table if obj.get(key) is not None] if len(obj) != 2 else _single(obj, table)
    for place, key in enumerate(given):
        extra, where, rule = table[key]
        if place:
            found.append(causes.forbidden(f"{path}.{extra}", _ONE))
        else:
            rule(obj[key], f"{path}.{where}", found)
    return given


def _single(obj: Obj, table: Mapping[str, Any]) -> list[str]:
    return [key for key, value in obj.items() if key in table and value is not None]


def persistent_source(spec: Obj, path: str, name: str, found: Found) -> None:
    """The source among the fields of a persistent volume's spec."""
    if not _sources(spec, path, PERSISTENT_SOURCES, found):
        found.append(causes.required(path, "must specify a volume type"))
    iscsi = spec.get("iscsi")
    if iscsi is not None and iscsi.get("initiatorName") is not None:
        portal = iscsi.get("targetPortal") or ""
        if len(f"{name}:{portal}") > 64:
            found.append(causes.invalid(f"{path}.iscsi.targetportal", portal, _SHARED_PORTAL))


def pod_volumes(volumes: list[Obj], pod_name: str, path: str, found: Found) -> dict[str, Obj]:
    """The valid volumes by name. ``pod_name`` is empty in templates."""
    known: dict[str, Obj] = {}
    created = (
        {f"{pod_name}-{volume.get('name')}" for volume in volumes if volume.get("ephemeral") is not None}
        if pod_name
        else set()
    )
    for index, volume in enumerate(volumes):
        before = len(found)
        where = f"{path}[{index}]"
        name = volume.get("name") or ""
        if not _sources(volume, where, _POD, found):
            found.append(causes.required(where, "must specify a volume type"))
        _names_in_sources(volume, name, pod_name, where, found)
        if not name:
            found.append(causes.required(f"{where}.name"))
        else:
            named(name, f"{where}.name", names.check_dns1123_label, found)
        if name in known:
            found.append(causes.duplicate(f"{where}.name", name))
        if len(found) == before:
            known[name] = volume
        claim = volume.get("persistentVolumeClaim")
        if claim is not None and claim.get("claimName") in created:
            told = "must not reference a PVC that gets created for an ephemeral volume"
            found.append(causes.invalid(f"{where}.persistentVolumeClaim.claimName", claim["claimName"], told))
    return known


def _names_in_sources(volume: Obj, name: str, pod_name: str, path: str, found: Found) -> None:
    iscsi = volume.get("iscsi") or {}
    portal = f"{name}:{iscsi.get('targetPortal') or ''}"
    if iscsi.get("initiatorName") is not None and len(portal) > 64:
        found.append(causes.invalid(f"{path}.name", name, _SHARED_PORTAL))
    if volume.get("ephemeral") is not None and pod_name and name:
        claim = f"{pod_name}-{name}"
        for problem in names.check_dns1123_subdomain(claim):
            found.append(causes.invalid(f"{path}.name", name, f'PVC name "{claim}": {problem}'))
