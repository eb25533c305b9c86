"""The authorizers that a file names, in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.errors import KubernelError, PluginError
from kubernel.plugin.manager import Authorizer
from kubernel.registry.attributes import Attributes, Decision, Standing
from kubernel_plugins.auth.authorization_webhook.asking import Webhook
from kubernel_plugins.auth.authorization_webhook.configuration import Configured, read
from kubernel_plugins.auth.authorization_webhook.metrics import Metrics
from kubernel_plugins.webhooks import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from kubernel.plugin import Handle

__all__ = ["Chain"]

_MASTERS = "system:masters"
_PLUGINS = {"Node": "auth/node", "RBAC": "auth/rbac"}


class Chain:
    """What the file says is asked from ``load`` to ``close``."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._caller = Caller(handle)
        self._needed: Set[str] = frozenset()
        self._loaded: list[Configured] = []
        self.metrics = Metrics(handle.cluster.name)

    def load(self, path: str) -> None:
        """Raises PluginError, with nothing changed."""
        found = read(path, self._needed)
        if found == self._loaded:
            return
        chain = [Authorizer(f"masters:{_MASTERS}", _masters())]
        chain += [self._made(one) for one in found]
        self._handle.hooks.arrange(chain)
        self._loaded = found
        self._needed = {one.type for one in found if one.type != "Webhook"}
        self.metrics.reloaded(self._handle.clock.time(), True)

    def reload(self, path: str) -> None:
        try:
            self.load(path)
        except KubernelError:
            self.metrics.reloaded(self._handle.clock.time(), False)
            raise

    @property
    def asks_others(self) -> bool:
        """Whether a webhook is among them."""
        return any(one.webhook is not None for one in self._loaded)

    async def close(self) -> None:
        self._handle.hooks.arrange(None)
        await self._caller.close()

    def _made(self, one: Configured) -> Authorizer:
        label = f"{one.type}:{one.name}"
        counted = self.metrics.counted
        if one.webhook is not None:
            webhook = Webhook(self._handle, self._caller, one.webhook, self.metrics)
            return Authorizer(label, counted(one.type, one.name, webhook.known), webhook.ask)
        if one.type in _PLUGINS:
            plugin = self._handle.hooks.authorizer(_PLUGINS[one.type])
            if plugin is None:
                raise PluginError(
                    f"authorizer type {one.type} is not allowed if it was not enabled at initial server startup: "
                    f"the plugin {_PLUGINS[one.type]} is not configured"
                )
            return Authorizer(label, counted(one.type, one.name, plugin.authorize), plugin.consult)
        if one.type == "ABAC":
            raise PluginError("authorizer type ABAC is not supported: use RBAC or a Webhook")
        decision = Decision(
            one.type == "AlwaysAllow", "", final=one.type == "AlwaysAllow", standing=Standing()
        )
        if one.type == "AlwaysDeny":
            decision = Decision(False, "Everything is forbidden.", final=False, standing=Standing())
        return Authorizer(label, counted(one.type, one.name, lambda attributes: decision))


def _masters() -> Callable[[Attributes], Decision | None]:
    """Before all others: whatever a file says, the administrators get in."""
    allowed, passed = Decision(True, standing=Standing()), Decision(False, final=False, standing=Standing())

    def authorize(attributes: Attributes) -> Decision | None:
        return allowed if _MASTERS in attributes.user.groups else passed

    return authorize
