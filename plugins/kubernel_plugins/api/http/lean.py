"""aiohttp's server without its client.

aiohttp's ``__init__`` imports the client, and that loads the machine's certificate authorities twice: 60 of the
110 ms that the whole library takes, on the way to the first answer of every cluster, which needs none of it.
Here the package comes in empty and completes itself when somebody asks it for a name, so that
for everyone else ``import aiohttp`` means what it always does.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

__all__ = ["install"]

_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


class _Package(ModuleType):
    """A package whose ``__init__`` has not run yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        loader = self.__spec__ and self.__spec__.loader
        assert isinstance(loader, SourceFileLoader)  # noqa: S101 - install() looked
        loader.exec_module(self)
        return getattr(self, name)


def install() -> None:
    """Let ``aiohttp.<module>`` be imported without ``aiohttp``. Does nothing where aiohttp is there already
    or is not a package as we know it."""
    if "aiohttp" in sys.modules:
        return
    spec = importlib.util.find_spec("aiohttp")
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        return
    version = _VERSION.search(spec.loader.get_source("aiohttp") or "")
    if version is None:
        return
    package = _Package("aiohttp")
    package.__spec__ = spec
    package.__loader__ = spec.loader
    package.__file__ = spec.origin
    package.__path__ = list(spec.submodule_search_locations or ())
    package.__package__ = "aiohttp"
    # aiohttp's own modules ask for it while they are imported.
    package.__version__ = version[1]  # type: ignore[attr-defined]
    sys.modules["aiohttp"] = package
