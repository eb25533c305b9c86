"""Other servers that say who may do what: each is sent a SubjectAccessReview.

Source: k8s.io/apiserver/plugin/pkg/authorizer/webhook, pkg/apis/apiserver/types.go (v1.37).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kubernel.config import Duration
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.attributes import Attributes, Decision
    from kubernel_plugins.auth.authorization_webhook.asking import Webhook
    from kubernel_plugins.webhooks import Caller

__all__ = ["Condition", "Plugin", "Settings", "WebhookSettings"]


@dataclass(frozen=True, slots=True)
class Condition:
    """The webhook is asked only about requests for which the CEL expression over ``request`` holds."""

    expression: str


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """As ``webhook`` of an AuthorizationConfiguration. ``failure_policy`` says what no answer is."""

    name: str
    kubeconfig: str
    timeout: Duration = 3.0
    authorized_ttl: Duration = 300.0
    unauthorized_ttl: Duration = 30.0
    failure_policy: Literal["NoOpinion", "Deny"] = "NoOpinion"
    match_conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= 30:
            raise ValueError("timeout: must be more than 0s and at most 30s")


@dataclass(frozen=True, slots=True)
class Settings:
    """``webhooks`` are asked one after the other."""

    webhooks: tuple[WebhookSettings, ...] = ()


class Plugin(BasePlugin):
    """Where in the chain it is asked is where it stands among the auth plugins of the configuration.

    An answer has to be waited for, so only requests from outside can get a new one; who cannot wait (expressions,
    components of this process) gets what is known already, else no opinion.
    """

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._webhooks: list[Webhook] = []
        self._caller: Caller | None = None

    async def start(self) -> None:
        if not self.settings.webhooks:
            return
        from kubernel_plugins.auth.authorization_webhook.asking import Webhook
        from kubernel_plugins.webhooks import Caller

        caller = self._caller = Caller(self.handle)
        self._webhooks = [
            Webhook(self.handle, caller, dataclasses.replace(one)) for one in self.settings.webhooks
        ]

    async def stop(self) -> None:
        self._webhooks = []
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    @hookimpl
    async def kubernel_consult(self, attributes: Attributes) -> None:
        for webhook in self._webhooks:
            decision = await webhook.ask(attributes)
            if decision is not None and (decision.allowed or decision.final):
                return

    @hookimpl
    def kubernel_authorize(self, attributes: Attributes) -> Decision | None:
        reason: Decision | None = None
        for webhook in self._webhooks:
            decision = webhook.known(attributes)
            if decision is not None and (decision.allowed or decision.final):
                return decision
            reason = reason or decision
        return reason
