"""GangScheduling: pods of a group get their nodes together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PolicyFactory

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``gang_scheduling`` policy."""

    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        from kubernel.plugin.scheduling import PolicyFactory
        from kubernel_plugins.scheduler_policy.gang_scheduling.policy import GangScheduling

        return PolicyFactory("GangScheduling", GangScheduling)
