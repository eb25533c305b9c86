"""Role-based access control, and the access reviews."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import Expired
from kubernel.plugin import NoSettings, hookimpl
from kubernel.plugin import Plugin as BasePlugin
from kubernel.registry.attributes import Attributes, Decision, Standing
from kubernel.registry.operations import WatchOptions
from kubernel.store.records import DELETED
from kubernel.watch import Closed

from .bootstrap import Aggregator, aggregated, reconcile
from .defaults import default_objects
from .escalation import GROUP, check
from .policy import Policy
from .reviews import Reviews

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.registry import Watch
    from kubernel.registry.request import Request
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_PLURALS = ("clusterroles", "roles", "clusterrolebindings", "rolebindings")
_MASTERS = "system:masters"


class Plugin(BasePlugin):
    """Decides from the stored roles and bindings. The default ones hold from the first request on: they are
    known before they are stored, which happens in the background."""

    Settings = NoSettings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self.policy = Policy()
        self._masters = Decision(True, standing=Standing())
        self._aggregator: Aggregator | None = None
        self._watches: list[Watch] = []

    async def start(self) -> None:
        handle = self.handle
        client = handle.client("system:apiserver", (_MASTERS,))
        self._aggregator = Aggregator(client, handle.clock)
        stored: dict[tuple[str, str, str], Obj] = {}
        for plural in _PLURALS:
            type = handle.registry.lookup(GROUP, "v1", plural)
            if type is None:
                handle.log.warning("{} are not served: access control knows the default roles only", plural)
                continue
            watch = await self._open(type)
            for record in watch.initial:
                self._put(plural, record.obj)
                stored[plural, record.key.namespace, record.key.name] = record.obj
            handle.spawn(self._follow(type, watch), plural)
        defaults = list(default_objects())
        roles = {obj["metadata"]["name"]: obj for plural, obj in defaults if plural == "clusterroles"}
        wanted: list[tuple[str, Obj, Obj | None]] = []
        for plural, obj in defaults:
            meta = obj["metadata"]
            known = stored.get((plural, meta.get("namespace", ""), meta["name"]))
            wanted.append((plural, obj, known))
            if known is None:
                if "aggregationRule" in obj:
                    # view goes into edit, edit into admin: the table has them in the other order.
                    obj = {**obj, "rules": _collect(obj, roles)}
                self._put(plural, obj, stored=False)
        Reviews(handle.hooks, self.policy, handle.clock).attach(handle.registry)
        handle.spawn(reconcile(client, handle.clock, wanted), "default roles")
        handle.spawn(self._aggregator.run(), "aggregated roles")

    async def stop(self) -> None:
        for watch in self._watches:
            watch.close()
        self._watches.clear()

    async def _open(self, type: ResourceType) -> Watch:
        watch = await self.handle.registry.watch(type, "", WatchOptions(resource_version="0"))
        self._watches.append(watch)
        return watch

    async def _follow(self, type: ResourceType, watch: Watch) -> None:
        plural = type.plural
        known = {record.key for record in watch.initial}
        while True:
            try:
                for item in await watch.next():
                    if item.type is DELETED:
                        known.discard(item.record.key)
                        self._remove(plural, item.record.key.namespace, item.record.key.name)
                    else:
                        known.add(item.record.key)
                        self._put(plural, item.record.obj)
            except Expired:
                watch.close()
                self._watches.remove(watch)
                watch = await self._open(type)
                now = {record.key for record in watch.initial}
                for key in known - now:
                    self._remove(plural, key.namespace, key.name)
                for record in watch.initial:
                    self._put(plural, record.obj)
                known = now
            except Closed:
                return

    def _put(self, plural: str, obj: Obj, *, stored: bool = True) -> None:
        if plural in ("roles", "clusterroles"):
            self.policy.put_role(obj)
            if stored and plural == "clusterroles" and self._aggregator is not None:
                self._aggregator.put(obj)
        else:
            self.policy.put_binding(obj)

    def _remove(self, plural: str, namespace: str, name: str) -> None:
        if plural in ("roles", "clusterroles"):
            self.policy.remove_role(namespace, name)
            if plural == "clusterroles" and self._aggregator is not None:
                self._aggregator.remove(name)
        else:
            self.policy.remove_binding(namespace, name)

    @hookimpl
    def kubernel_authorize(self, attributes: Attributes) -> Decision | None:
        if _MASTERS in attributes.user.groups:
            return self._masters
        return self.policy.decide(attributes)

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        if request.type.group == GROUP:
            check(request, self.policy, self.handle.hooks)


def _collect(role: Obj, roles: dict[str, Obj]) -> list[dict[str, Any]]:
    """Aggregated rules with those of aggregated roles among them."""
    filled = {
        name: {**other, "rules": _collect(other, roles)}
        if "aggregationRule" in other and name != role["metadata"]["name"] and _feeds(other, role)
        else other
        for name, other in roles.items()
    }
    return aggregated(role, filled)


def _feeds(other: Obj, role: Obj) -> bool:
    target = f"{GROUP}/aggregate-to-{role['metadata']['name']}"
    return target in (other["metadata"].get("labels") or {})
