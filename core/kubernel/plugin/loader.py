"""Finding, selecting and importing plugins: the only module that knows stevedore.

stevedore's own defaults log what goes wrong and carry on, keep what they found in a class attribute
for the life of the process, and cache it on disk by modification times of a precision of two minutes. Here
every problem is raised, and every scan looks afresh (``catalogue`` remembers it, exactly).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import Any, NoReturn

from stevedore.named import NamedExtensionManager

from kubernel.errors import PluginError
from kubernel.plugin.catalogue import GROUP_PREFIX, Found

__all__ = ["load", "scan"]


def scan(roles: Iterable[str]) -> list[Found]:
    """Every entry point of the roles' groups, nothing imported. An entry point that one distribution
    gives twice in the same words is one; what two distributions give are two."""
    entry_points = metadata.entry_points()
    found: dict[Found, None] = {}
    for role in roles:
        for entry_point in entry_points.select(group=GROUP_PREFIX + role):
            distribution = entry_point.dist
            name = distribution.name if distribution is not None else "unknown"
            version = distribution.version if distribution is not None else "?"
            found[Found(role, entry_point.name, entry_point.value, name, version)] = None
    return list(found)


def load(found: Found) -> object:
    """Import what the entry point names; PluginError, with the cause, when that fails."""
    try:
        selection = _Selection(found)
    except PluginError:
        raise
    except Exception as error:
        # stevedore lets assertions through its callback.
        _broken(found, error)
    return selection.extensions[0].plugin


class _Selection(NamedExtensionManager[Any]):
    """stevedore's selection by name, of exactly one entry point."""

    def __init__(self, found: Found) -> None:
        self._entry_point = metadata.EntryPoint(found.name, found.value, found.group)
        super().__init__(
            found.group,
            [found.name],
            on_load_failure_callback=lambda manager, entry_point, error: _broken(found, error),
            on_missing_entrypoints_callback=lambda names: _broken(found, None),
        )

    def list_entry_points(self) -> list[metadata.EntryPoint]:
        return [self._entry_point]


def _broken(found: Found, error: BaseException | None) -> NoReturn:
    why = f"{type(error).__name__}: {error}" if error is not None else "nothing was loaded"
    missing = ""
    if isinstance(error, ModuleNotFoundError) and error.name and not found.value.startswith(error.name):
        missing = f'; the module "{error.name}" is not installed'
    raise PluginError(f"{found} cannot be loaded ({found.value}): {why}{missing}") from error
