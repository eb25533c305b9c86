"""What is installed: every plugin's entry point, its distribution, and how to get at its class.

Scanning all installed distributions and importing stevedore costs about a tenth of the time in which
a cluster starts, so what a scan found is remembered in a file and used again until anything on
``sys.path`` that could hold an entry point has changed. The file only saves time: it is checked by
modification times in nanoseconds, ignored when it is not the user's own, and never asked about a problem:
missing, duplicate and broken plugins are always reported from a fresh scan.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kubernel.config.convert import suggest
from kubernel.errors import PluginError
from kubernel.plugin.contract import ROLES, Plugin

if TYPE_CHECKING:
    from kubernel.config import Choice

__all__ = ["GROUP_PREFIX", "Catalogue", "Found", "default_cache_path"]

GROUP_PREFIX = "kubernel."
_FORMAT = 1
_METADATA = (".dist-info", ".egg-info")


@dataclass(frozen=True, slots=True)
class Found:
    """One entry point. ``value`` is ``package.module:Class``."""

    role: str
    name: str
    value: str
    distribution: str
    version: str

    @property
    def group(self) -> str:
        return GROUP_PREFIX + self.role

    def __str__(self) -> str:
        origin = f"distribution {self.distribution} {self.version}"
        return f'plugin "{self.name}" of group {self.group} from {origin}'


def default_cache_path() -> Path:
    """A file of this Python environment in ``$XDG_CACHE_HOME/kubernel``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "kubernel" / f"plugins-{zlib.crc32(sys.prefix.encode()):08x}.json"


class Catalogue:
    """The installed plugins. ``cache`` is the file in which a scan is remembered, None for none."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._found: Sequence[Found] | None = None
        self._remembered = False

    def all(self) -> Sequence[Found]:
        """Every entry point of every role, by role in start order, then by name."""
        if self._found is None:
            found = self._recall()
            self._remembered = found is not None
            self._found = self._scan() if found is None else found
        return self._found

    def of(self, role: str) -> list[Found]:
        return [found for found in self.all() if found.role == role]

    def select(self, role: str, name: str) -> Found:
        """The one entry point of that name; PluginError when it is missing or there are several."""
        matches = [found for found in self.of(role) if found.name == name]
        if len(matches) != 1 and self._remembered:
            self._rescan()
            matches = [found for found in self.of(role) if found.name == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            sources = " and ".join(f"{one.distribution} {one.version} ({one.value})" for one in matches)
            raise PluginError(
                f'plugin "{name}" of group {GROUP_PREFIX}{role} is provided more than once: by {sources}; '
                "uninstall all but one of them"
            )
        raise PluginError(
            f'there is no plugin "{name}" of group {GROUP_PREFIX}{role}'
            f"{suggest(name, (found.name for found in self.of(role)))}{self._elsewhere(role, name)}"
        )

    def load(self, found: Found) -> type[Plugin]:
        """Import the plugin's class; PluginError when that fails or it is not a plugin."""
        if self._remembered:
            try:
                module, _, attribute = found.value.partition(":")
                return _checked(found, getattr(importlib.import_module(module), attribute))
            except PluginError:
                raise
            except Exception:
                # What is remembered may be stale after all: the fresh scan below has the last word.
                self._rescan()
                found = self.select(found.role, found.name)
        from kubernel.plugin import loader

        return _checked(found, loader.load(found))

    def select_choice(self, role: str, choice: Choice) -> Found:
        """``select`` for what a configuration names: the error begins with the file and the line."""
        try:
            return self.select(role, choice.name)
        except PluginError as error:
            raise PluginError(f"{choice.place}{error}") from error

    def load_choice(self, found: Found, choice: Choice) -> type[Plugin]:
        """``load``, with the file and the line in front of the error."""
        try:
            return self.load(found)
        except PluginError as error:
            raise PluginError(f"{choice.place}{error}") from error

    def _elsewhere(self, role: str, name: str) -> str:
        roles = [found.role for found in self.all() if found.name == name and found.role != role]
        return f' ("{name}" is a plugin of role {" and ".join(roles)})' if roles else ""

    def _rescan(self) -> None:
        self._remembered = False
        self._found = self._scan()

    def _scan(self) -> Sequence[Found]:
        from kubernel.plugin import loader

        fingerprint = _fingerprint(sys.path)
        roles = list(ROLES)
        found = loader.scan(roles)
        found.sort(key=lambda one: (roles.index(one.role), one.name, one.distribution))
        if self._cache is not None:
            self._remember(self._cache, fingerprint, found)
        return found

    def _recall(self) -> Sequence[Found] | None:
        if self._cache is None:
            return None
        try:
            with self._cache.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                    return None
                data = json.load(file)
            if data["format"] != _FORMAT or data["fingerprint"] != _fingerprint(sys.path):
                return None
            return [Found(**entry) for entry in data["plugins"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, path: Path, fingerprint: list[str], found: Sequence[Found]) -> None:
        data = {"format": _FORMAT, "fingerprint": fingerprint, "plugins": [asdict(one) for one in found]}
        part = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(data, file)
            part.replace(path)
        except OSError:
            # A read-only home costs the next start a scan, nothing else.
            with contextlib.suppress(OSError):
                part.unlink()


def _checked(found: Found, value: object) -> type[Plugin]:
    if not (isinstance(value, type) and issubclass(value, Plugin)):
        raise PluginError(f"{found}: {found.value} is not a subclass of kubernel.plugin.Plugin")
    return value


def _fingerprint(path: Iterable[str]) -> list[str]:
    """What would be different if the installed entry points were: the interpreter, and every metadata
    folder on the path with when its entry points last changed. Folders without any leave no trace, so that
    a script and a test run in the same environment share what is remembered."""
    parts = [sys.executable, sys.prefix, sys.version]
    for folder in path:
        try:
            with os.scandir(folder or ".") as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(_METADATA))
        except OSError:
            # A zip file may hold distributions too.
            parts.append(f"{folder} {_changed(folder)}")
            continue
        parts += [f"{folder}/{name} {_changed(f'{folder}/{name}/entry_points.txt')}" for name in names]
    return parts


def _changed(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "-"
    return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"
