"""VolumeRestrictions: volumes that may be used by one pod, or from one node, alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PolicyFactory

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``volume_restrictions`` policy."""

    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        from kubernel.plugin.scheduling import PolicyFactory
        from kubernel_plugins.scheduler_policy.volume_restrictions.policy import VolumeRestrictions

        return PolicyFactory("VolumeRestrictions", VolumeRestrictions)
