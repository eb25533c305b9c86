"""Says that this API server is there: an identity Lease, renewed as long as it is.

Source: k8s.io/kubernetes/pkg/controlplane/apiserver/server.go, k8s.io/component-helpers/apimachinery/lease, and
k8s.io/apiserver/pkg/server/config.go for the name (v1.37).
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from kubernel.clock import micro_time
from kubernel.errors import ApiError, Conflict, NotFound
from kubernel.objects import names
from kubernel.plugin import Plugin as BasePlugin

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin", "identity_of"]

_LEASES = "leases.v1.coordination.k8s.io"
_NAMESPACE = "kube-system"
_COMPONENT = "kube-apiserver"
_DURATION = 3600
_RENEW = 10.0
_JITTER = 0.04


def identity_of(host: str) -> str:
    """The name of the Lease of the API server on a host."""
    parts = (part.encode() for part in (host, _COMPONENT))
    data = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    digest = hashlib.sha256(data).digest()[:16]
    return f"apiserver-{base64.b32encode(digest).decode().rstrip('=').lower()}"


class Plugin(BasePlugin):
    """The ``apiserveridentity`` controller: of each server, elected or not."""

    async def start(self) -> None:
        self._client = self.handle.client("system:apiserver", ("system:masters",))
        self._name = identity_of(self.handle.cluster.node_name)
        self._holder = f"{self._name}_{names.uuid(self.handle.rng)}"
        self._latest: Obj | None = None
        self.handle.spawn(self._run(), "identity lease")

    async def _run(self) -> None:
        clock, rng = self.handle.clock, self.handle.rng
        while True:
            try:
                await self._renew()
            except (ApiError, OSError) as error:
                self.handle.log.warning("the identity lease was not renewed: {}", error)
                self._latest = None
            await clock.sleep(_RENEW * (1.0 + rng.random() * _JITTER))

    async def _renew(self) -> None:
        if self._latest is not None:
            # Hardly anybody else writes it: no need to look first.
            try:
                self._latest = await self._client.update(_LEASES, self._renewed(self._latest))
            except (Conflict, NotFound):
                self._latest = None
            else:
                return
        try:
            found = await self._client.get(_LEASES, self._name, _NAMESPACE)
        except NotFound:
            made = self._renewed({"metadata": {"name": self._name, "namespace": _NAMESPACE}})
            self._latest = await self._client.create(_LEASES, made, _NAMESPACE)
        else:
            self._latest = await self._client.update(_LEASES, self._renewed(found))

    def _renewed(self, base: Obj) -> Obj:
        cluster = self.handle.cluster
        metadata: dict[str, Any] = base["metadata"]
        labels = {
            **(metadata.get("labels") or {}),
            "apiserver.kubernetes.io/identity": _COMPONENT,
            "kubernetes.io/hostname": cluster.node_name,
        }
        spec = {"holderIdentity": self._holder, "leaseDurationSeconds": _DURATION, **(base.get("spec") or {})}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "labels": labels},
            "spec": {**spec, "renewTime": micro_time(self.handle.clock.time())},
        }
