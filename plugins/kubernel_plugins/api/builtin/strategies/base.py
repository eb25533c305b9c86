"""The strategy that most types share, told by traits what is peculiar."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from kubernel.registry.defaulting import apply_defaults
from kubernel.registry.metadata import keep_reset
from kubernel.registry.types import Strategy
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.warned import WARNINGS

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["STATUS_ALONE", "Builtin", "field", "immutable"]

STATUS_ALONE: Mapping[str, tuple[str, ...]] = MappingProxyType({"status": ("metadata", "spec")})
"""``Strategy.resets`` of a type whose metadata does not come through the status."""
_FRAME = ("apiVersion", "kind", "metadata")


def field(obj: Any, *path: str) -> Any:
    """The value at a path; None where it, or anything on the way, is absent."""
    for step in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj


def immutable(obj: Obj, old: Obj, *paths: str) -> list[Cause]:
    """A cause for each of these fields that changed: ``field is immutable``."""
    found = []
    for path in paths:
        steps = path.split(".")
        new = field(obj, *steps)
        if new != field(old, *steps):
            found.append(causes.invalid(path, new, causes.FIELD_IMMUTABLE))
    return found


class Builtin(Strategy):
    """``generation``: whether the type counts changes of its desired state. ``immutable``: paths of fields
    that may never change. ``returns``: immediate deletion answers with the object."""

    def __init__(
        self,
        *,
        generation: bool = False,
        immutable: tuple[str, ...] = (),
        create_on_update: bool = False,
        unconditional_update: bool = True,
        returns: bool = False,
        propagation: Literal["Background", "Orphan"] = "Background",
        thorough: bool = False,
    ) -> None:
        self.tracks_generation = generation
        self.immutable = immutable
        self.create_on_update = create_on_update
        self.unconditional_update = unconditional_update
        self.delete_returns_object = returns
        self.default_propagation = propagation
        self.thorough = thorough

    def initial_status(self, request: Request, obj: Obj) -> Obj | None:
        """The status of a new object, whatever the client sent, but for what is always there; None is no status."""
        node = (request.type.schema().properties or {}).get("status")
        return {} if node is not None and node.properties else None

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        found = WARNINGS.get((request.type.group, request.type.kind))
        return [] if found is None or request.subresource else found(obj, request.old)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        if self.has_status(request):
            status = self.initial_status(request, obj)
            if status is None:
                obj.pop("status", None)
            else:
                obj["status"] = status
                apply_defaults((request.type.schema().properties or {})["status"], status)
        if self.tracks_generation:
            obj["metadata"]["generation"] = 1

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        if request.subresource == "status":
            self.keep_all_but(obj, old, "status")
            keep_reset(obj["metadata"], old["metadata"], request.resets)
            return
        if self.has_status(request):
            self.keep(obj, old, "status")
        if self.changed_generation(obj, old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def changed_generation(self, obj: Obj, old: Obj) -> bool:
        """Everything outside metadata and status is desired state."""
        return self.tracks_generation and any(
            obj.get(key) != old.get(key)
            for key in obj.keys() | old.keys()
            if key not in ("apiVersion", "kind", "metadata", "status")
        )

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return immutable(obj, old, *self.immutable)

    @staticmethod
    def keep(obj: Obj, old: Obj, key: str) -> None:
        """Make a top-level field what it was."""
        if key in old:
            obj[key] = old[key]
        else:
            obj.pop(key, None)

    @staticmethod
    def keep_all_but(obj: Obj, old: Obj, *written: str) -> None:
        """Make every top-level field but ``written`` and the metadata what it was."""
        for key in obj.keys() | old.keys():
            if key not in _FRAME and key not in written:
                Builtin.keep(obj, old, key)
