"""Nodes may read what their pods need, and write about themselves; ``admission/node_restriction`` looks at what they
write. Source: k8s.io/kubernetes/plugin/pkg/auth/authorizer/node (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import Expired
from kubernel.plugin import NoSettings, hookimpl
from kubernel.plugin import Plugin as BasePlugin
from kubernel.registry.attributes import ALLOW, Attributes, Decision, Standing
from kubernel.registry.operations import WatchOptions
from kubernel.store.records import DELETED
from kubernel.watch import Closed
from kubernel_plugins.auth.node.graph import Graph
from kubernel_plugins.auth.node.rules import Rules
from kubernel_plugins.auth.rules import node_name

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.registry import Watch, WatchItem
    from kubernel.registry.request import UserInfo
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Key

__all__ = ["Plugin"]

_FOLLOWED = (
    ("", "pods"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattachments"),
    ("resource.k8s.io", "resourceslices"),
    ("certificates.k8s.io", "podcertificaterequests"),
)


class _Followed:
    """One resource, as far as the graph has heard of it."""

    def __init__(self, type: ResourceType, watch: Watch) -> None:
        self.type = type
        self.watch = watch
        self.known: set[Key] = set()


class Plugin(BasePlugin):
    """Has an opinion on nodes only. The graph is brought up to date before it is asked, so that a node that hears of
    its pod can read what the pod needs at once."""

    Settings = NoSettings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self.graph = Graph()
        self._followed: list[_Followed] = []
        self._rules = Rules(self.graph)
        self._abstains = Decision(False, final=False, standing=Standing())

    @hookimpl
    def kubernel_unlisted_rules(self, user: UserInfo) -> str | None:
        return "node authorizer does not support user rule resolution" if node_name(user) else None

    async def start(self) -> None:
        for group, plural in _FOLLOWED:
            type = self.handle.registry.lookup(group, "v1", plural)
            if type is None:
                continue
            followed = _Followed(type, await self._open(type))
            self._begin(followed)
            self._followed.append(followed)
            self.handle.spawn(self._follow(followed), plural)

    async def stop(self) -> None:
        for followed in self._followed:
            followed.watch.close()
        self._followed.clear()

    async def _open(self, type: ResourceType) -> Watch:
        return await self.handle.registry.watch(type, "", WatchOptions(resource_version="0"))

    def _begin(self, followed: _Followed) -> None:
        """Take over what the watch begins with; what is not in it any more has gone meanwhile."""
        plural, initial = followed.type.plural, followed.watch.initial
        now = {record.key for record in initial}
        for key in followed.known - now:
            self.graph.remove(plural, key.namespace, key.name)
        for record in initial:
            self.graph.put(plural, record.obj)
        followed.known = now

    async def _follow(self, followed: _Followed) -> None:
        while True:
            try:
                self._take(followed, await followed.watch.next())
            except (Expired, Closed):
                followed.watch.close()
                if not self._followed:
                    return
                try:
                    followed.watch = await self._open(followed.type)
                except Closed:
                    return
                self._begin(followed)

    def _take(self, followed: _Followed, items: list[WatchItem]) -> None:
        plural = followed.type.plural
        for item in items:
            key = item.record.key
            if item.type is DELETED:
                followed.known.discard(key)
                self.graph.remove(plural, key.namespace, key.name)
            else:
                followed.known.add(key)
                self.graph.put(plural, item.record.obj)

    @hookimpl
    def kubernel_authorize(self, attributes: Attributes) -> Decision | None:
        name = node_name(attributes.user)
        if name is None:
            return self._abstains
        if not name:
            return Decision(False, f'node: unknown node for user "{attributes.user.name}"', final=False)
        for followed in self._followed:
            try:
                self._take(followed, followed.watch.poll())
            except (Expired, Closed):
                continue
        refusal = self._rules.refuses(name, attributes)
        if refusal is None:
            return ALLOW
        return Decision(False, f"node: {refusal}", final=False) if refusal else None
