"""Pod addresses of the host's own: every pod its own one out of 127.0.0.0/8."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.errors import ApiError, ServiceUnavailable
from kubernel.plugin import Plugin as BasePlugin

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin", "Settings"]

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Settings:
    """``node_address``: the node's InternalIP."""

    node_address: str = "127.0.0.1"


class Plugin(BasePlugin):
    """``PodNetwork``: addresses that the whole host answers on, so neighbours reach each other.

    Linux answers on all of 127.0.0.0/8. Elsewhere only 127.0.0.1 exists and all pods share it.
    """

    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._network = ipaddress.ip_network(str(handle.cluster.pod_cidr), strict=False)
        self._shared = not sys.platform.startswith("linux") and self._network.subnet_of(_LOOPBACK)
        self._of_pod: dict[str, str] = {}
        self._taken: set[int] = set()
        first = int(self._network.network_address)
        self._first, self._last = first + 1, int(self._network.broadcast_address) - 1
        self._next = self._first
        for address in {settings.node_address, "127.0.0.1", str(getattr(handle.cluster, "bind_address", ""))}:
            try:
                self._taken.add(int(ipaddress.ip_address(address)))
            except ValueError:
                continue

    async def start(self) -> None:
        """Addresses that pods have already, in their status, stay theirs."""
        node = str(self.handle.cluster.node_name)
        client = self.handle.client(f"system:node:{node}", ("system:nodes",))
        try:
            pods = await client.list("pods", fields=f"spec.nodeName={node}")
        except ApiError as error:
            self.handle.log.warning("addresses in use are not known: {}", error)
            return
        for pod in pods.items:
            self._keep(pod)

    def _keep(self, pod: Obj) -> str:
        address: str = pod.get("status", {}).get("podIP", "")
        if not address or pod.get("spec", {}).get("hostNetwork"):
            return ""
        number = int(ipaddress.ip_address(address))
        if number in self._taken or not self._first <= number <= self._last:
            return ""
        self._taken.add(number)
        self._of_pod[pod["metadata"]["uid"]] = address
        return address

    async def attach(self, pod: Obj) -> Sequence[str]:
        """One address; the host's for ``hostNetwork``. ServiceUnavailable when the range is used up."""
        if pod.get("spec", {}).get("hostNetwork"):
            return self.host_addresses()
        if self._shared:
            return ("127.0.0.1",)
        uid = pod["metadata"]["uid"]
        known = self._of_pod.get(uid) or self._keep(pod)
        if known:
            return (known,)
        size = self._last - self._first + 1
        if len(self._taken) >= size + 1:
            raise ServiceUnavailable(f"no address is left in {self._network}")
        for _ in range(size):
            number = self._next
            # Addresses are reused as late as possible: clients may still hold an old pod's.
            self._next = self._first if number >= self._last else number + 1
            if number not in self._taken:
                break
        else:
            raise ServiceUnavailable(f"no address is left in {self._network}")
        self._taken.add(number)
        address = str(type(self._network.network_address)(number))
        self._of_pod[uid] = address
        return (address,)

    async def detach(self, pod_uid: str) -> None:
        address = self._of_pod.pop(pod_uid, None)
        if address is not None:
            self._taken.discard(int(ipaddress.ip_address(address)))

    def host_addresses(self) -> Sequence[str]:
        return (self.settings.node_address,)
