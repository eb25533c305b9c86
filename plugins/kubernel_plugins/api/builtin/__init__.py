"""The built-in resource types of Kubernetes v1.37."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.api.builtin.context import Context
from kubernel_plugins.api.builtin.registration import resource_types
from kubernel_plugins.api.builtin.schemas import Schemas
from kubernel_plugins.api.builtin.tables.overlay import overlay

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry

__all__ = ["Plugin"]


class Plugin(Base):
    """Registers every built-in type; nothing runs."""

    @hookimpl
    def kubernel_register_types(self, registry: Registry) -> None:
        schemas = Schemas()
        schemas.overlay(overlay())
        for type in resource_types(Context(self.handle), schemas.for_kind):
            registry.register(type)
