"""Who is asked what a user may do: the authorizers of an AuthorizationConfiguration, other servers among them.

Source: k8s.io/kubernetes/pkg/kubeapiserver/authorizer, k8s.io/apiserver/plugin/pkg/authorizer/webhook (v1.37).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.errors import PluginError
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import UserInfo
    from kubernel_plugins.auth.authorization_webhook.chain import Chain

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``configuration`` is the path of an AuthorizationConfiguration; empty leaves the plugins their order."""

    configuration: str = ""


class Plugin(BasePlugin):
    """The file is the whole chain, as kube-apiserver's ``--authorization-config``: where the plugin stands among the
    others, and others that the file does not name, do not count. It is taken anew when it changes.

    A webhook's answer has to be waited for, so only requests from outside can get a new one; who cannot wait
    (expressions, components of this process) gets what is known already, else no opinion.
    """

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._chain: Chain | None = None

    async def start(self) -> None:
        path = self.settings.configuration
        if not path:
            return
        from kubernel_plugins.auth.authorization_webhook.chain import Chain
        from kubernel_plugins.following import follow

        chain = self._chain = Chain(self.handle)
        try:
            chain.load(path)
        except PluginError as error:
            raise PluginError(f"auth/authorization_webhook: {path}: {error}") from None

        async def take() -> str:
            chain.reload(path)
            return ""

        self.handle.spawn(follow(self.handle, Path(path), take), "authorization configuration")

    async def stop(self) -> None:
        if self._chain is not None:
            chain, self._chain = self._chain, None
            await chain.close()

    @hookimpl
    def kubernel_unlisted_rules(self, user: UserInfo) -> str | None:
        if self._chain is None or not self._chain.asks_others:
            return None
        return "webhook authorizer does not support user rule resolution"

    @hookimpl
    def kubernel_metrics(self) -> str | None:
        return None if self._chain is None else self._chain.metrics.render()
