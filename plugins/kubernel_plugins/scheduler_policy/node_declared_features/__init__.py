"""NodeDeclaredFeatures: pods that need a feature go where the node declares it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PolicyFactory

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``node_declared_features`` policy."""

    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        from kubernel.plugin.scheduling import PolicyFactory
        from kubernel_plugins.scheduler_policy.node_declared_features.policy import NodeDeclaredFeatures

        return PolicyFactory("NodeDeclaredFeatures", NodeDeclaredFeatures)
