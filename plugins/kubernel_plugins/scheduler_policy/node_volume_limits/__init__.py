"""NodeVolumeLimits: a node attaches so many volumes of a driver and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PolicyFactory

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``node_volume_limits`` policy."""

    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        from kubernel.plugin.scheduling import PolicyFactory
        from kubernel_plugins.scheduler_policy.node_volume_limits.policy import NodeVolumeLimits

        return PolicyFactory("NodeVolumeLimits", NodeVolumeLimits)
