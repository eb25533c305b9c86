"""EndpointSlice mirroring controller: slices of Endpoints that no controller wrote.

Source: k8s.io/kubernetes/pkg/controller/endpointslicemirroring (v1.37).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import ObjectKey
from kubernel.objects import meta
from kubernel_plugins.addresses import parse_ip
from kubernel_plugins.controller import portorder
from kubernel_plugins.controller.slicewriter import MANAGED_LABEL, SERVICE_LABEL, Changes, SliceWriter
from kubernel_plugins.controller.subsets import repack
from kubernel_plugins.controller.triggertimes import ANNOTATION

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = frozenset((ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration"))
_LIMIT = 1000
"""Most addresses copied of one subset."""

Group = tuple[str, portorder.Ports]
"""(address type, ports)."""
_COMPARED = ("addresses", "hostname", "nodeName", "conditions", "targetRef")


def _namesake(self: Plugin, type: EventType, service: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    selects = bool(service["spec"].get("selector"))
    changed = (
        selects != bool(old["spec"].get("selector")) if old is not None and type == "MODIFIED" else False
    )
    if changed or (type != "MODIFIED" and not selects):
        yield meta.key(service)


class Plugin(SliceWriter):
    """The ``endpointslicemirroring`` controller."""

    resource = "endpoints"
    watches = {"services": _namesake}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:endpointslicemirroring-controller"
    component = "endpoint-slice-mirroring-controller"
    retry_first = 1.0
    manager = "endpointslicemirroring-controller.k8s.io"

    async def start(self) -> None:
        await super().start()
        self._services = self.informer("services")

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if _may_be_mirrored(obj) or (old is not None and _may_be_mirrored(old)):
            self.queue.add(meta.key(obj))

    async def bring_about(self, namespace: str, name: str) -> float | None:
        key = namespace, name
        endpoints = self.primary.get(name, namespace)
        service = self._services.get(name, namespace)
        existing = self.slices_of(key)
        if (
            endpoints is None
            or not _may_be_mirrored(endpoints)
            or service is None
            or service["spec"].get("selector")
        ):
            self.forget(key)
            for entry in existing:
                await self.delete(key, entry)
            return None
        if (wait := self.wait_for(key, existing)) is not None:
            return wait
        changes = _changes(endpoints, existing)
        if skipped := _skipped(endpoints):
            message = (
                f"A max of {_LIMIT} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{skipped} addresses were skipped"
            )
            await self.recorder.event(endpoints, "Warning", "TooManyAddressesToMirror", message)
        changes.recycle(lambda entry: True)
        create = not meta.is_deleting(endpoints)
        await self.write(key, f"Endpoints {'/'.join(key)}", changes, create=create)
        return None


def _may_be_mirrored(endpoints: Obj) -> bool:
    return meta.labels(endpoints).get(_SKIP_LABEL) != "true" and _LEADER not in meta.annotations(endpoints)


def _skipped(endpoints: Obj) -> int:
    sizes = [
        len(subset.get("addresses") or ()) + len(subset.get("notReadyAddresses") or ())
        for subset in repack(endpoints.get("subsets") or ())
    ]
    return sum(max(size - _LIMIT, 0) for size in sizes)


def _changes(endpoints: Obj, existing: list[Obj]) -> Changes:
    held: dict[Group, list[Obj]] = defaultdict(list)
    for entry in existing:
        held[entry["addressType"], portorder.key(portorder.of_slices(entry.get("ports") or ()))].append(entry)
    changes = Changes()
    for group, (ports, content) in _wanted(endpoints).items():
        first, *others = held.pop(group, ()) or (None,)
        wanted = _slice(endpoints, group[0], ports, content)
        changes.delete += [entry for entry in others if entry is not None]
        if first is None:
            changes.create.append(wanted)
        elif not _is_same(first, wanted, endpoints):
            changes.update.append({**wanted, "metadata": {**wanted["metadata"], "name": meta.name(first)}})
    changes.delete += [entry for entries in held.values() for entry in entries]
    return changes


def _wanted(endpoints: Obj) -> dict[Group, tuple[list[portorder.Port], list[dict[str, Any]]]]:
    """Endpoints by the slices they belong in."""
    found: dict[Group, tuple[list[portorder.Port], list[dict[str, Any]]]] = {}
    for subset in repack(endpoints.get("subsets") or ()):
        ports = portorder.of_slices(subset.get("ports") or ())
        entries = [(address, True) for address in subset.get("addresses") or ()]
        entries += [(address, False) for address in subset.get("notReadyAddresses") or ()]
        for address, ready in entries[:_LIMIT]:
            parsed = parse_ip(address["ip"])
            if parsed is None:
                continue
            group = f"IPv{parsed.version}", portorder.key(ports)
            _, content = found.setdefault(group, (ports, []))
            content.append(_endpoint(str(parsed), address, ready))
    return found


def _endpoint(text: str, address: Mapping[str, Any], ready: bool) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"addresses": [text], "conditions": {"ready": ready}}
    for key in ("hostname", "nodeName", "targetRef"):
        if address.get(key):
            endpoint[key] = address[key]
    return endpoint


def _slice(
    endpoints: Obj, family: str, ports: list[portorder.Port], content: list[dict[str, Any]]
) -> dict[str, Any]:
    own = {SERVICE_LABEL: meta.name(endpoints), MANAGED_LABEL: Plugin.manager}
    annotations = {key: value for key, value in meta.annotations(endpoints).items() if key not in _NOT_COPIED}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name(endpoints)}-",
            "namespace": meta.namespace(endpoints),
            "labels": {**meta.labels(endpoints), **own},
            "annotations": annotations,
            "ownerReferences": [meta.owner_reference(endpoints)],
        },
        "addressType": family,
        "endpoints": content,
        "ports": ports,
    }


def _is_same(entry: Obj, wanted: Obj, endpoints: Obj) -> bool:
    """Whether a slice holds these endpoints, in whatever order, for these Endpoints."""
    of_namesake = any(
        owner.get("kind") == "Endpoints"
        and owner.get("name") == meta.name(endpoints)
        and owner.get("uid") != meta.uid(endpoints)
        for owner in meta.owners(entry)
    )
    return (
        not of_namesake
        and meta.labels(entry) == meta.labels(wanted)
        and meta.annotations(entry) == meta.annotations(wanted)
        and _compared(entry) == _compared(wanted)
    )


def _compared(entry: Obj) -> list[str]:
    return sorted(
        json.dumps([endpoint.get(key) for key in _COMPARED], sort_keys=True)
        for endpoint in entry.get("endpoints") or ()
    )
