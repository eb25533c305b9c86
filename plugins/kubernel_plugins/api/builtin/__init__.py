"""The built-in resource types of Kubernetes v1.37."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.registry.protobuf import ProtobufCodec
from kubernel.registry.protobuf_table import META, FieldTable
from kubernel_plugins.api.builtin.context import Context
from kubernel_plugins.api.builtin.registration import resource_types
from kubernel_plugins.api.builtin.schemas import Schemas
from kubernel_plugins.api.builtin.tables import EXTRA
from kubernel_plugins.api.builtin.tables.overlay import overlay

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry

__all__ = ["Plugin", "Settings", "protobuf_codec"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``serve``: groups and versions beside those that Kubernetes serves by default, as
    ``scheduling.k8s.io/v1beta1``."""

    serve: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = ["/".join(each) for each in EXTRA]
        for each in self.serve:
            if each not in known:
                raise ValueError(f'serve: there is no "{each}" to be served; known are {", ".join(known)}')


class Plugin(Base):
    """Registers every built-in type; nothing runs."""

    Settings = Settings

    @hookimpl
    def kubernel_register_types(self, registry: Registry) -> None:
        schemas = _schemas()
        extra = _pairs(self.settings.serve if self.settings else ())
        for type in resource_types(Context(self.handle), schemas.for_kind, extra):
            registry.register(type)
        registry.protobuf = protobuf_codec()


def _pairs(served: Iterable[str]) -> list[Any]:
    return [tuple(each.split("/")) for each in served]


@cache
def protobuf_codec() -> ProtobufCodec:
    """Shared by all clusters of a process, as the schemas are: it only learns what never changes."""
    schemas = _schemas()

    def definition(group: str, version: str, kind: str) -> str | None:
        try:
            return schemas.definition_for(group, version, kind)
        except KeyError:
            return _unpublished(group, version, kind)

    return ProtobufCodec(_field_table, definition)


def _unpublished(group: str, version: str, kind: str) -> str | None:
    """Messages of kinds that OpenAPI has no definition of."""
    if group == "apidiscovery.k8s.io":
        return f"io.k8s.api.apidiscovery.{version}.{kind}"
    if group != "meta.k8s.io":
        return None
    return META.replace("v1", version) + kind if kind == "PartialObjectMetadataList" else META + kind


@cache
def _schemas() -> Schemas:
    """Read-only from here on, so that all clusters of a process share it and what it has loaded."""
    schemas = Schemas(table=_field_table)
    schemas.overlay(overlay())
    return schemas


@cache
def _field_table() -> FieldTable:
    return FieldTable(resources.files(__package__).joinpath("protobuf_fields.txt").read_text("utf-8"))
