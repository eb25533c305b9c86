"""The ``scale`` of whatever kind has one.

Source: k8s.io/client-go/scale and k8s.io/apimachinery/pkg/api/meta (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.store.records import Obj

__all__ = ["NoSuchKind", "Scales"]


class NoSuchKind(Exception):
    """No resource of that kind is served."""


class Scales:
    """Reads scales as ``client``; which resource a kind is, is asked once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._resources: dict[tuple[str, str], str] = {}

    async def resource(self, api_version: str, kind: str) -> str:
        """The resource of a kind; the version that the group prefers where the named one is not served.
        NoSuchKind in upstream's words."""
        group, _, version = api_version.rpartition("/")
        known = self._resources.get((api_version, kind))
        if known is None:
            served = [
                one for one in await self._client.discover() if (one["group"], one["kind"]) == (group, kind)
            ]
            if not served:
                where = f' in group "{group}"' if group else ' in version "v1"'
                raise NoSuchKind(f'no matches for kind "{kind}"{where}')
            chosen = next((one for one in served if one["version"] == version), served[0])
            known = f"{chosen['resource']}.{chosen['version']}"
            known = self._resources[api_version, kind] = f"{known}.{group}" if group else known
        return known

    async def get(self, resource: str, name: str, namespace: str) -> Obj:
        return await self._client.get(resource, name, namespace, subresource="scale")
