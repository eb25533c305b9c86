"""An APIService for each group and version that this server itself serves, and what extension servers read about it.

Source: k8s.io/kube-aggregator/pkg/controllers/autoregister, pkg/controlplane/apiserver/aggregator.go and
pkg/controlplane/controller/clusterauthenticationtrust (v1.37).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import AlreadyExists, NotFound
from kubernel_plugins.controller.apiregistration.priorities import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_SERVICES = "apiservices.v1.apiregistration.k8s.io"
_DEFINITIONS = "customresourcedefinitions.v1.apiextensions.k8s.io"
_MANAGED = "kube-aggregator.kubernetes.io/automanaged"
_OF_DEFINITION = (1000, 100)
"""Priorities of the group and the version of a custom resource."""
_TRUST = "extension-apiserver-authentication"


def _versions(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """The APIServices that a CustomResourceDefinition, as it is or was, asks for."""
    return {
        ("", f"{version['name']}.{one['spec']['group']}")
        for one in (obj, old)
        if one is not None
        for version in one["spec"].get("versions") or ()
    }


class Plugin(Reconciler):
    """The ``apiregistration`` controller; keys are names of APIServices."""

    resource = _SERVICES
    watches = {_DEFINITIONS: _versions}  # noqa: RUF012 - typed in the base
    user = "system:apiserver"
    workers = 1

    async def setup(self) -> None:
        self._admin = self.handle.client(self.user, ("system:masters",))
        self._builtin = {
            f"{type.version}.{type.group}": (type.group, type.version)
            for type in self.handle.registry.types()
            if (type.group, type.version) in PRIORITIES and not type.custom
        }
        for name in self._builtin:
            self.queue.add(("", name))
        await self._publish_trust()

    async def reconcile(self, namespace: str, name: str) -> None:
        found = self.primary.get(name)
        wanted = self._wanted(name)
        if wanted is None:
            # Only what was made for a definition goes with it.
            if found is not None and (found["metadata"].get("labels") or {}).get(_MANAGED) == "true":
                await self._admin.delete(_SERVICES, name, uid=found["metadata"]["uid"])
            return
        if found is not None:
            return
        try:
            await self._admin.create(_SERVICES, wanted)
        except AlreadyExists:
            return

    def _wanted(self, name: str) -> Obj | None:
        version, _, group = name.partition(".")
        if name in self._builtin:
            priorities, managed = PRIORITIES[group, version], "onstart"
        elif any(
            definition["spec"]["group"] == group
            and any(one["name"] == version and one.get("served") for one in definition["spec"]["versions"])
            for definition in self.informer(_DEFINITIONS).list()
        ):
            priorities, managed = _OF_DEFINITION, "true"
        else:
            return None
        spec: dict[str, Any] = {
            "version": version,
            "groupPriorityMinimum": priorities[0],
            "versionPriority": priorities[1],
        }
        if group:
            spec["group"] = group
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": name, "labels": {_MANAGED: managed}},
            "spec": spec,
        }

    async def _publish_trust(self) -> None:
        """How extension servers recognise this server, and the users it vouches for."""
        authority = self.handle.hooks.certificate_authority()
        if authority is None:
            return
        ca = authority.ca_certificate.decode()
        data = {
            "client-ca-file": ca,
            "requestheader-client-ca-file": ca,
            "requestheader-allowed-names": json.dumps(["front-proxy-client"]),
            "requestheader-username-headers": json.dumps(["X-Remote-User"]),
            "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
            "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
            "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
        }
        try:
            found = await self._admin.get("configmaps", _TRUST, "kube-system")
        except NotFound:
            made = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": _TRUST, "namespace": "kube-system"},
                "data": data,
            }
            try:
                await self._admin.create("configmaps", made, "kube-system")
            except (AlreadyExists, NotFound):
                self.log.warning("{} could not be published in kube-system", _TRUST)
            return
        if any((found.get("data") or {}).get(key) != value for key, value in data.items()):
            await self._admin.update("configmaps", {**found, "data": {**(found.get("data") or {}), **data}})
