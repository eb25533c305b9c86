"""A directory whose files change all at once.

The files are in a directory named by the time of writing; ``..data`` is a symlink to it that is
replaced by rename, and every visible name is a symlink through ``..data``
(k8s.io/kubernetes/pkg/volume/util/atomic_writer.go).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_payload"]

_DATA = "..data"


def write_payload(directory: Path, payload: Mapping[str, tuple[bytes, int]]) -> bool:
    """Make ``directory`` show exactly ``payload``: relative path -> (content, mode). True when it changed."""
    directory.mkdir(parents=True, exist_ok=True)
    current = directory / _DATA
    old = Path(os.path.realpath(current)) if current.is_symlink() else None
    if old is not None and old.is_dir() and _same(old, payload):
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..v", dir=directory))
    fresh.chmod(0o755)
    for name, (content, mode) in payload.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    link = directory / "..data_tmp"
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(fresh.name)
    os.replace(link, current)
    tops = {Path(name).parts[0] for name in payload}
    for top in tops:
        visible = directory / top
        if not visible.is_symlink():
            visible.symlink_to(Path(_DATA) / top)
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops and entry.is_symlink():
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _same(directory: Path, payload: Mapping[str, tuple[bytes, int]]) -> bool:
    present = {str(p.relative_to(directory)): p for p in directory.rglob("*") if p.is_file()}
    if present.keys() != payload.keys():
        return False
    for name, (content, mode) in payload.items():
        info = present[name].stat()
        if info.st_size != len(content) or info.st_mode & 0o777 != mode & 0o777:
            return False
        if present[name].read_bytes() != content:
            return False
    return True
