"""ValidatingWebhookConfiguration: servers that are asked about each write they are configured for.

Source: k8s.io/apiserver/pkg/admission/plugin/webhook/validating (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from kubernel.plugin import hookimpl
from kubernel_plugins.admission.webhooks import WebhookPlugin

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]


class Plugin(WebhookPlugin):
    """The ``validating_webhook`` admission plugin."""

    mutating = False

    @hookimpl
    def kubernel_validate(self, request: Request) -> Awaitable[None] | None:
        webhooks = self.asked(request)
        if webhooks is None:
            return None
        from kubernel_plugins.admission.validating_webhook.dispatch import ask

        return ask(webhooks, request)
