"""Writes the schema data of all versions into the source tree: ``python -m build_schema.build``."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

from build_schema import compiler

__all__ = ["VERSIONS", "build", "data_directory"]

VERSIONS = tuple(f"1.{minor}" for minor in range(25, 38))


def data_directory(root: Path) -> Path:
    return root / "plugins" / "kubernel_plugins" / "api" / "builtin" / "data"


def build(root: Path, *, force: bool = False) -> list[Path]:
    """The data files, made anew unless they are those of this compiler and these definitions.

    An up-to-date tree needs no ``kubernetes-validate``; raises ``SchemaSourceError`` when it is needed and
    absent.
    """
    directory = data_directory(root)
    files = [
        directory / f"v{version}.{part}" for version in VERSIONS for part in ("structure", "descriptions")
    ]
    stamp = directory / "STAMP"
    source = _source_directory()
    wanted = _fingerprint()
    have = stamp.read_text() if stamp.is_file() else ""
    complete = all(file.is_file() for file in files)
    if not force and complete and (source is None or have == wanted):
        return [*files, stamp]
    if source is None:
        raise compiler.SchemaSourceError(
            f"the schema data in {directory} is missing and kubernetes-validate, which it is made from, "
            "is not installed: pip install kubernetes-validate==1.37.0"
        )
    directory.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    for version in VERSIONS:
        path = source / f"v{version}.0-local" / "_definitions.json"
        structure, descriptions = compiler.compile_definitions(json.loads(path.read_bytes()), version)
        for part, table in (("structure", structure), ("descriptions", descriptions)):
            file = directory / f"v{version}.{part}"
            scratch = file.with_suffix(".new")
            scratch.write_bytes(compiler.pack(table))
            scratch.replace(file)
    stamp.write_text(wanted)
    return [*files, stamp]


def _source_directory() -> Path | None:
    # Found, not imported: importing it takes jsonschema and half a second.
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "kubernetes-json-schema"


def _fingerprint() -> str:
    try:
        release = importlib.metadata.version("kubernetes-validate")
    except importlib.metadata.PackageNotFoundError:
        release = "unknown"
    code = b"".join(Path(module).read_bytes() for module in (compiler.__file__, __file__))
    return f"kubernetes-validate {release}, compiler {hashlib.sha256(code).hexdigest()}\n"


if __name__ == "__main__":
    build(Path(__file__).resolve().parent.parent, force="--force" in sys.argv)
