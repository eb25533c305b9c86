"""Which objects a list or a watch is about: label and field selectors compiled for one type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kubernel.errors import BadRequest
from kubernel.objects.selectors import parse_fields, parse_labels

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["Selection"]


class Selection:
    """``matches(obj)``; ``everything`` when no object is left out.

    ``name`` and ``namespace`` are what ``metadata.name=`` and ``metadata.namespace=`` demand,
    ``indexed`` the demanded value of the type's indexed field: readers use them to look at less.
    Raises BadRequest in upstream's words for a selector that cannot be parsed or a field that
    cannot be selected by.
    """

    __slots__ = ("_fields", "_labels", "everything", "indexed", "name", "namespace")

    def __init__(self, type: ResourceType, labels: str, fields: str) -> None:
        self.name = ""
        self.namespace = ""
        self.indexed = ""
        self._labels: Callable[[dict[str, str]], bool] | None = None
        self._fields: list[tuple[Callable[[Obj], str], bool, str]] = []
        if labels:
            try:
                selector = parse_labels(labels)
            except ValueError as error:
                raise BadRequest(str(error)) from None
            if not selector.everything:
                self._labels = selector.matches
        if fields:
            self._add_fields(type, fields)
        self.everything = self._labels is None and not self._fields

    def _add_fields(self, type: ResourceType, fields: str) -> None:
        try:
            terms = parse_fields(fields)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        for path, operator, value in terms:
            if not (path or value):
                continue
            equal = operator != "!="
            getter: Callable[[Obj], str]
            if path == "metadata.name":
                getter = _name
                if equal:
                    self.name = value
            elif path == "metadata.namespace" and _has_namespace(type):
                getter = _namespace
                if equal:
                    self.namespace = value
            elif path in type.field_selectors:
                getter = type.field_selectors[path]
                if equal and path == type.indexed_field:
                    self.indexed = value
            else:
                raise BadRequest(_unknown_field(type, path))
            self._fields.append((getter, equal, value))

    def matches(self, obj: Obj) -> bool:
        if self._labels is not None and not self._labels(obj["metadata"].get("labels") or {}):
            return False
        return all((getter(obj) == value) is equal for getter, equal, value in self._fields)


def _has_namespace(type: ResourceType) -> bool:
    """Objects without a namespace can be selected by it, too, unless their type has fields of its own."""
    if type.namespaced:
        return type.strategy.selects_namespace
    return not (type.field_selectors or type.custom)


def _unknown_field(type: ResourceType, path: str) -> str:
    if type.field_selectors or type.custom:
        return type.strategy.field_label_refusal.format(path)
    return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _name(obj: Obj) -> str:
    name: str = obj["metadata"]["name"]
    return name


def _namespace(obj: Obj) -> str:
    namespace: str = obj["metadata"].get("namespace", "")
    return namespace
