"""ValidatingWebhookConfiguration: servers that are asked about each write they are configured for.

Source: k8s.io/apiserver/pkg/admission/plugin/webhook/validating (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel_plugins.admission.hooks import Webhooks

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``validating_webhook`` admission plugin."""

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._webhooks: Webhooks | None = None

    async def start(self) -> None:
        from kubernel_plugins.admission.hooks import Webhooks

        resource = "validatingwebhookconfigurations.v1.admissionregistration.k8s.io"
        self._webhooks = Webhooks(self.handle, resource, mutating=False)
        self._webhooks.start()

    async def stop(self) -> None:
        if self._webhooks is not None:
            webhooks, self._webhooks = self._webhooks, None
            await webhooks.stop()

    @hookimpl
    def kubernel_validate(self, request: Request) -> Awaitable[None] | None:
        webhooks = self._webhooks
        if webhooks is None or not webhooks.asks(request):
            return None
        from kubernel_plugins.admission.validating_webhook.dispatch import ask

        return ask(webhooks, request)
