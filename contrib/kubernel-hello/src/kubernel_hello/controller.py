"""The controller: a ConfigMap labelled with a name gets a greeting."""

from __future__ import annotations

from dataclasses import dataclass

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta
from kubernel_hello.rights import grant

__all__ = ["LABEL", "Plugin", "Settings"]

LABEL = "hello.kubernel.dev/greet"


@dataclass(frozen=True, slots=True)
class Settings:
    """``greeting`` is the word before the name."""

    greeting: str = "Hello"

    def __post_init__(self) -> None:
        if not self.greeting:
            raise ValueError("greeting: there must be a word to greet with")


class Plugin(Reconciler):
    """Keeps ``data.greeting`` of labelled ConfigMaps as it should be."""

    Settings = Settings
    resource = "configmaps"
    user = "system:serviceaccount:kube-system:hello-controller"

    async def start(self) -> None:
        await super().start()
        self.handle.spawn(grant(self.handle.client("system:apiserver"), self.user), "grant rights")

    async def reconcile(self, namespace: str, name: str) -> None:
        card = self.primary.get(name, namespace)
        if card is None or meta.is_deleting(card):
            return
        who = meta.labels(card).get(LABEL)
        if not who:
            return
        greeting = f"{self.settings.greeting}, {who}!"
        if meta.get(card, "data", "greeting") != greeting:
            await self.client.patch("configmaps", name, {"data": {"greeting": greeting}}, namespace)
