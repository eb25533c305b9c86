"""What the two plugins of admission webhooks have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from kubernel.plugin import Plugin

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel_plugins.admission.hooks import Webhooks

__all__ = ["WebhookPlugin"]


class WebhookPlugin(Plugin):
    """``mutating``: which of the two kinds of configuration it follows while it runs."""

    mutating: ClassVar[bool]

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._webhooks: Webhooks | None = None

    async def start(self) -> None:
        from kubernel_plugins.admission.hooks import Webhooks

        kind = "mutating" if self.mutating else "validating"
        resource = f"{kind}webhookconfigurations.v1.admissionregistration.k8s.io"
        self._webhooks = Webhooks(self.handle, resource, mutating=self.mutating)
        self._webhooks.start()

    async def stop(self) -> None:
        if self._webhooks is not None:
            webhooks, self._webhooks = self._webhooks, None
            await webhooks.stop()

    def asked(self, request: Request) -> Webhooks | None:
        """None when no server is asked about the request."""
        webhooks = self._webhooks
        return webhooks if webhooks is not None and webhooks.asks(request) else None
