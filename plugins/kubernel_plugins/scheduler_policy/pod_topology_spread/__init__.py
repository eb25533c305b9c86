"""PodTopologySpread: pods of a kind are spread over zones, nodes, …."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PolicyFactory

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``pod_topology_spread`` policy."""

    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        from kubernel.plugin.scheduling import PolicyFactory
        from kubernel_plugins.scheduler_policy.pod_topology_spread.policy import PodTopologySpread

        return PolicyFactory("PodTopologySpread", PodTopologySpread, weight=2)
