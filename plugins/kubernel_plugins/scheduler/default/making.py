"""From settings to a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.plugin.scheduling import overrides
from kubernel_plugins.scheduler.default.configuration import parse
from kubernel_plugins.scheduler.default.scheduler import Scheduler

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.recorder import EventRecorder
    from kubernel_plugins.scheduler.default import Settings

__all__ = ["make"]

_LARGEST = 1024 * 1024
"""Bytes of a configuration file."""


def make(
    settings: Settings, handle: Any, client: Client, recorders: Callable[[str], EventRecorder]
) -> Scheduler:
    """ValueError says what is wrong with the configuration."""
    factories = handle.hooks.scheduler_policies()
    classes = {factory.name: factory.build for factory in factories}
    given = settings.configuration or _read(settings.configuration_file)
    parsed = parse(
        given, settings.scheduler_name, factories, lambda name, point: overrides(classes[name], point)
    )
    return Scheduler(handle, client, parsed, factories, recorders, settings.parallel_binds)


def _read(file: Path) -> Mapping[str, Any]:
    if file == Path():
        return {}
    import yaml

    try:
        with file.open("rb") as stream:
            text = stream.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(f"configurationFile {file}: {error.strerror}") from error
    if len(text) > _LARGEST:
        raise ValueError(f"configurationFile {file}: larger than {_LARGEST} bytes")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"configurationFile {file}: {error}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"configurationFile {file}: not a mapping")
    return found
