"""From settings to a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.config.document import read
from kubernel.plugin.scheduling import overrides
from kubernel_plugins.scheduler.default.configuration import parse
from kubernel_plugins.scheduler.default.scheduler import Scheduler

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.series import SeriesRecorder
    from kubernel_plugins.scheduler.default import Settings

__all__ = ["make"]


def make(
    settings: Settings, handle: Any, client: Client, recorders: Callable[[str], SeriesRecorder]
) -> Scheduler:
    """ValueError or ConfigError says what is wrong with the configuration."""
    factories = handle.hooks.scheduler_policies()
    classes = {factory.name: factory.build for factory in factories}
    given = settings.configuration or _read(settings.configuration_file)
    parsed = parse(
        given, settings.scheduler_name, factories, lambda name, point: overrides(classes[name], point)
    )
    if not settings.ask_extenders:
        parsed = replace(parsed, extenders=())
    return Scheduler(handle, client, parsed, factories, recorders, settings.parallel_binds)


def _read(file: Path) -> Mapping[str, Any]:
    if file == Path():
        return {}
    found = read(file).plain()
    if not isinstance(found, Mapping):
        raise ValueError(f"configurationFile {file}: not a mapping")
    return found
