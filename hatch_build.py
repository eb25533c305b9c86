"""Build hook: the schema data goes into the wheel, and into the source tree of an editable install."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SchemaBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """The source distribution carries the compiler instead of the data, as the repository does."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        # The tree that is being built, not an installed or cached build_schema.
        sys.path.insert(0, self.root)
        try:
            from build_schema.build import build, data_directory

            build(Path(self.root))
        finally:
            sys.path.remove(self.root)
        relative = data_directory(Path(self.root)).relative_to(self.root)
        build_data["artifacts"].append(f"/{relative.as_posix()}/*")
