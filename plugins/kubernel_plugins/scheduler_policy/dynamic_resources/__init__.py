"""DynamicResources: devices for the claims of a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PolicyFactory

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``dynamic_resources`` policy."""

    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        from kubernel.plugin.scheduling import PolicyFactory
        from kubernel_plugins.scheduler_policy.dynamic_resources.policy import DynamicResources

        return PolicyFactory("DynamicResources", DynamicResources, weight=2)
