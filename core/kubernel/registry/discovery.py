"""Discovery: which groups, versions and resources are served, for clients that ask.

Classic documents (``/api``, ``/apis``, ``/apis/G``, ``/apis/G/V``) and the aggregated ones
(apidiscovery.k8s.io, KEP-3352).
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from kubernel.registry.documents import Document, TypeSource, encode
from kubernel.registry.typetable import version_rank

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType, Subresource

__all__ = ["Discovery"]

# The order of kube-aggregator's group priorities: clients that look for a short name take the first.
_GROUP_ORDER = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "storagemigration.k8s.io",
    "internal.apiserver.k8s.io",
)
_RANK = {group: rank for rank, group in enumerate(_GROUP_ORDER)}


class Discovery:
    """Documents are made when asked for and kept until the registry's types change.

    ``server_address`` is ``host:port`` as clients reach it.
    """

    def __init__(self, registry: TypeSource, *, server_address: str = "") -> None:
        self._registry = registry
        self._address = server_address
        self._generation = -1
        self._cache: dict[tuple[str, str], Document | None] = {}
        self._groups: dict[str, dict[str, list[ResourceType]]] = {}

    def classic(self, path: str) -> Document | None:
        """``/api``, ``/api/v1``, ``/apis``, ``/apis/G`` or ``/apis/G/V``; None for what is not served."""
        return self._cached("classic", path.rstrip("/"))

    def aggregated(self, path: str, version: str = "v2") -> Document | None:
        """The APIGroupDiscoveryList for ``/api`` (core) or ``/apis`` (the rest)."""
        return self._cached(version, path.rstrip("/"))

    def paths(self) -> list[str]:
        """Every path that ``classic`` answers."""
        self._refresh()
        found = ["/api", "/apis"]
        for group, versions in self._groups.items():
            base = f"/apis/{group}" if group else "/api"
            found += [base] if group else []
            found += [f"{base}/{version}" for version in versions]
        return found

    def _cached(self, form: str, path: str) -> Document | None:
        self._refresh()
        key = (form, path)
        if key in self._cache:
            return self._cache[key]
        made = self._classic(path) if form == "classic" else self._aggregated(path, form)
        if made is None:
            return None  # not kept: there is no end of paths that are not served
        document = self._cache[key] = encode(made)
        return document

    def _refresh(self) -> None:
        if self._generation == self._registry.generation:
            return
        groups: dict[str, dict[str, list[ResourceType]]] = {}
        for type in self._registry.types():
            groups.setdefault(type.group, {}).setdefault(type.version, []).append(type)
        self._groups = {
            group: {
                version: sorted(groups[group][version], key=lambda one: one.plural)
                for version in sorted(groups[group], key=version_rank, reverse=True)
            }
            for group in sorted(groups, key=lambda group: (_RANK.get(group, len(_RANK)), group))
        }
        self._cache = {}
        self._generation = self._registry.generation

    # --- classic

    def _classic(self, path: str) -> dict[str, Any] | None:
        parts = path.split("/")[1:]
        if parts == ["api"]:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
            versions = list(self._groups.get("", ()))
            return {"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": addresses}
        if parts == ["apis"]:
            groups = [self._group(group) for group in self._groups if group]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if parts[:1] == ["api"] and len(parts) == 2:
            return self._resources("", parts[1])
        if parts[:1] == ["apis"] and parts[1:2] != [""] and len(parts) in (2, 3):
            if parts[1] not in self._groups:
                return None
            if len(parts) == 3:
                return self._resources(parts[1], parts[2])
            return {"kind": "APIGroup", "apiVersion": "v1", **self._group(parts[1])}
        return None

    def _group(self, group: str) -> dict[str, Any]:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version} for version in self._groups[group]
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> dict[str, Any] | None:
        types = self._groups.get(group, {}).get(version)
        if types is None:
            return None
        resources: list[dict[str, Any]] = []
        for type in types:
            resources.append(_resource(type))
            resources += [_subresource(type, sub) for sub in _subresources(type)]
        return {
            "kind": "APIResourceList",
            # The core's list has none, as upstream's.
            **({"apiVersion": "v1"} if group else {}),
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": resources,
        }

    # --- aggregated

    def _aggregated(self, path: str, form: str) -> dict[str, Any] | None:
        if path not in ("/api", "/apis"):
            return None
        wanted = [group for group in self._groups if bool(group) == (path == "/apis")]
        items = [
            {
                "metadata": {"name": group} if group else {},
                "versions": [
                    {
                        "version": version,
                        "resources": [_discovered(type) for type in types],
                        "freshness": "Current",
                    }
                    for version, types in self._groups[group].items()
                ],
            }
            for group in wanted
        ]
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{form}",
            "metadata": {},
            "items": items,
        }


_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
"""The order in which apiextensions tells them; for all else it is the alphabet."""


def _verbs(type: ResourceType) -> list[str]:
    return [verb for verb in _CUSTOM_VERBS if verb in type.verbs] if type.custom else sorted(type.verbs)


def _subresources(type: ResourceType) -> list[Subresource]:
    """By name, as the status of a custom resource comes before its scale."""
    found = sorted(type.subresources.items(), reverse=type.custom)
    return [sub for _, sub in found]


def _resource(type: ResourceType) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": type.plural,
        "singularName": type.singular,
        "namespaced": type.namespaced,
        "kind": type.kind,
        "verbs": _verbs(type),
    }
    if type.short_names:
        entry["shortNames"] = list(type.short_names)
    if type.categories:
        entry["categories"] = list(type.categories)
    if type.create is None and "create" in type.verbs:
        group = type.group if type.storage_group is None else type.storage_group
        name = f"{group}/{type.hashed_version or type.storage_version}/{type.kind}".encode()
        entry["storageVersionHash"] = base64.b64encode(hashlib.sha256(name).digest()[:8]).decode()
    return entry


def _subresource(type: ResourceType, sub: Subresource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": f"{type.plural}/{sub.name}",
        "singularName": "",
        "namespaced": type.namespaced,
        "kind": sub.kind.kind,
        "verbs": sorted(sub.verbs),
    }
    # Left out where it is the list's own.
    if (sub.kind.group, sub.kind.version) != (type.group, type.version):
        if sub.kind.group:
            entry["group"] = sub.kind.group
        entry["version"] = sub.kind.version
    return entry


def _response(type: ResourceType, group: str, version: str, kind: str) -> dict[str, str]:
    """Group and version are empty where they are the list's own."""
    if (group, version) == (type.group, type.version):
        group = version = ""
    return {"group": group, "version": version, "kind": kind}


def _discovered(type: ResourceType) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": type.plural,
        "responseKind": _response(type, type.group, type.version, type.kind),
        "scope": "Namespaced" if type.namespaced else "Cluster",
        "singularResource": type.singular,
        "verbs": _verbs(type),
    }
    if type.short_names:
        entry["shortNames"] = list(type.short_names)
    if type.categories:
        entry["categories"] = list(type.categories)
    if type.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _response(type, sub.kind.group, sub.kind.version, sub.kind.kind),
                "verbs": sorted(sub.verbs),
            }
            for sub in _subresources(type)
        ]
    return entry
