"""VolumeZone: volumes are reached from their own zone alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PolicyFactory

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``volume_zone`` policy."""

    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        from kubernel.plugin.scheduling import PolicyFactory
        from kubernel_plugins.scheduler_policy.volume_zone.policy import VolumeZone

        return PolicyFactory("VolumeZone", VolumeZone)
