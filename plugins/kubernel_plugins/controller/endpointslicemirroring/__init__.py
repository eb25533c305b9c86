"""EndpointSlice mirroring controller: slices of Endpoints that no controller wrote.

Source: k8s.io/kubernetes/pkg/controller/endpointslicemirroring (v1.37).
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.client.expectations import Expectations
from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.errors import ApiError
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_SLICES = "endpointslices.v1.discovery.k8s.io"
_NAME_LABEL = "kubernetes.io/service-name"
_MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
_MANAGER = "endpointslicemirroring-controller.k8s.io"
_SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = frozenset(
    ("endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration")
)
_LIMIT = 1000
"""Most addresses copied of one subset, and most in one slice."""

Group = tuple[str, tuple[tuple[tuple[str, Any], ...], ...]]
"""(address type, ports)."""


def _namesake(self: Plugin, type: EventType, service: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    selects = (service.get("spec") or {}).get("selector")
    if old is None or type == "DELETED" or bool(selects) != bool((old.get("spec") or {}).get("selector")):
        yield meta.key(service)


class Plugin(Reconciler):
    """The ``endpointslicemirroring`` controller."""

    resource = "endpoints"
    owns = (_SLICES,)
    watches = {"services": _namesake}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:endpointslicemirroring-controller"
    component = "endpoint-slice-mirroring-controller"

    async def start(self) -> None:
        await super().start()
        self._expected = Expectations(self.clock)
        self._services = self.informer("services")
        self._slices = self.informer(_SLICES)
        self._unlisten.append(self._slices.add_listener(self._observe))

    def _observe(self, type: EventType, entry: Obj, old: Obj | None) -> None:
        owner = meta.controller_of(entry)
        if type == "ADDED" and owner is not None:
            self._expected.creation_observed(owner["uid"])

    async def reconcile(self, namespace: str, name: str) -> None:
        endpoints = self.primary.get(name, namespace)
        if endpoints is None or meta.is_deleting(endpoints):
            return
        uid = meta.uid(endpoints)
        if not self._expected.satisfied(uid):
            return
        mine: dict[Group, list[Obj]] = defaultdict(list)
        for entry in self._slices.by("owner", uid):
            if meta.labels(entry).get(_MANAGED_LABEL) == _MANAGER and not meta.is_deleting(entry):
                mine[_group(entry)].append(entry)
        wanted = _wanted(endpoints) if self._is_mirrored(endpoints) else {}
        for group, content in wanted.items():
            existing = sorted(mine.pop(group, ()), key=meta.name)
            for start in range(0, len(content), _LIMIT):
                before = existing.pop(0) if existing else None
                await self._write(endpoints, group, content[start : start + _LIMIT], before)
            mine[group] = existing
        for entries in mine.values():
            for entry in entries:
                await self.client.delete(_SLICES, meta.name(entry), namespace, uid=meta.uid(entry))

    def _is_mirrored(self, endpoints: Obj) -> bool:
        if meta.labels(endpoints).get(_SKIP_LABEL) == "true" or _LEADER in meta.annotations(endpoints):
            return False
        service = self._services.get(meta.name(endpoints), meta.namespace(endpoints))
        return service is not None and not (service.get("spec") or {}).get("selector")

    async def _write(
        self, endpoints: Obj, group: Group, content: list[dict[str, Any]], before: Obj | None
    ) -> None:
        labels = {**meta.labels(endpoints), _NAME_LABEL: meta.name(endpoints), _MANAGED_LABEL: _MANAGER}
        annotations = {
            key: value for key, value in meta.annotations(endpoints).items() if key not in _NOT_COPIED
        }
        if before is not None:
            same = (before.get("endpoints") or []) == content
            if same and meta.labels(before) == labels and meta.annotations(before) == annotations:
                return
            metadata = {**before["metadata"], "labels": labels, "annotations": annotations}
            await self.client.update(_SLICES, {**before, "metadata": metadata, "endpoints": content})
            return
        address_type, ports = group
        entry: Obj = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{meta.name(endpoints)}-",
                "namespace": meta.namespace(endpoints),
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [meta.owner_reference(endpoints)],
            },
            "addressType": address_type,
            "endpoints": content,
            "ports": [dict(port) for port in ports],
        }
        uid = meta.uid(endpoints)
        self._expected.expect_creations(uid, 1)
        try:
            await self.client.create(_SLICES, entry, meta.namespace(endpoints))
        except ApiError:
            self._expected.creation_observed(uid)
            raise


def _wanted(endpoints: Obj) -> dict[Group, list[dict[str, Any]]]:
    """Endpoints by the slices they belong in; an address that is both ready and not is ready."""
    found: dict[Group, dict[str, dict[str, Any]]] = defaultdict(dict)
    for subset in endpoints.get("subsets") or ():
        ports = _ports(subset)
        entries = [(address, True) for address in subset.get("addresses") or ()]
        entries += [(address, False) for address in subset.get("notReadyAddresses") or ()]
        for address, ready in entries[:_LIMIT]:
            version = ipaddress.ip_address(address["ip"]).version
            found[f"IPv{version}", ports].setdefault(address["ip"], _endpoint(address, ready))
    return {group: list(content.values()) for group, content in found.items()}


def _endpoint(address: Mapping[str, Any], ready: bool) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for key in ("hostname", "nodeName", "targetRef"):
        if address.get(key):
            endpoint[key] = address[key]
    return endpoint


def _ports(holder: Mapping[str, Any]) -> tuple[tuple[tuple[str, Any], ...], ...]:
    """Ports in a form that can be compared: of a subset, or of a slice."""
    return tuple(
        tuple(
            sorted(
                {
                    "name": port.get("name") or "",
                    "port": port.get("port"),
                    "protocol": port.get("protocol") or "TCP",
                    **({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {}),
                }.items()
            )
        )
        for port in holder.get("ports") or ()
    )


def _group(entry: Obj) -> Group:
    return entry["addressType"], _ports(entry)
