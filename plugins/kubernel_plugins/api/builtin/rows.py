"""The vocabulary of the tables: one ``Row`` describes one served kind.

Rows name columns, strategies and selectable fields instead of holding them, so that reading the
tables costs next to nothing and a type's columns are imported when somebody first asks for its Table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from kubernel.registry.types import ALL_VERBS, GroupVersionKind

if TYPE_CHECKING:
    from kubernel.registry.types import Column
    from kubernel.store.records import Obj

__all__ = ["STATUS", "LazyColumns", "Row", "SubresourceRow", "field_reader"]

STATUS = ("status",)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of one group and version.

    ``subresources`` names ``status``, ``scale`` and the entries of ``tables.subresources``. ``columns`` is
    ``module:NAME`` in ``columns/`` (empty: Name and Created At), ``strategy`` an entry of
    ``strategies.STRATEGIES``. ``fields`` are selectable fields, with their value when absent.
    ``create`` names the strategy's method that answers POST for a kind that is not stored.
    """

    kind: str
    plural: str
    short: tuple[str, ...] = ()
    singular: str = ""
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[str, ...] = ()
    columns: str = ""
    strategy: str = "spec"
    fields: Mapping[str, str] = field(default_factory=dict)
    indexed_field: str = ""
    create: str = ""
    hashed: str = ""
    """The version whose hash discovery tells."""
    deprecation: str = ""
    """The warning that every answer carries."""


@dataclass(frozen=True, slots=True)
class SubresourceRow:
    """A subresource that is not the type's own kind. ``handler`` and ``check`` name methods of the strategy."""

    gvk: GroupVersionKind
    verbs: tuple[str, ...]
    connect: bool = False
    handler: str = ""
    check: str = ""
    options: str = ""
    """The kind of a stream's options, where that is not ``gvk``'s."""


class LazyColumns(Sequence["Column"]):
    """The columns that ``module:NAME`` names, imported when first looked at."""

    __slots__ = ("_columns", "_where")

    def __init__(self, where: str) -> None:
        self._where = where
        self._columns: Sequence[Column] | None = None

    def _load(self) -> Sequence[Column]:
        if self._columns is None:
            module, _, name = (self._where or "common:DEFAULT").partition(":")
            loaded = import_module(f"kubernel_plugins.api.builtin.columns.{module}")
            self._columns = tuple(getattr(loaded, name))
        return self._columns

    @overload
    def __getitem__(self, index: int) -> Column: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Column]: ...
    def __getitem__(self, index: int | slice) -> Column | Sequence[Column]:
        return self._load()[index]

    def __iter__(self) -> Iterator[Column]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())


def field_reader(path: str, absent: str) -> Callable[[Obj], str]:
    """What a field selector compares: the field as text, ``absent`` where there is none."""
    steps = tuple(path.split("."))

    def read(obj: Obj) -> str:
        value: Any = obj
        for step in steps:
            if not isinstance(value, dict):
                return absent
            value = value.get(step)
        if value is None:
            return absent
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    return read
