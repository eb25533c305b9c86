"""Distributions made on the spot: plugins as a stranger would ship them, without installing anything."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

Distribution = Callable[..., Path]

STORE = '''
    """A store driver for tests: everything in memory."""
    from kernel_test_backend import MemoryBackend
    from kubernel.plugin import Plugin


    class Store(Plugin):
        def __init__(self, settings, handle):
            super().__init__(settings, handle)
            self.backend = MemoryBackend()
'''

BACKEND = """
    import asyncio

    from kubernel.store import Change, Snapshot
    from kubernel.store.ledger import Ledger


    class MemoryBackend:
        retention = 0.0

        def __init__(self):
            self.ledger = Ledger()
            self.log = []
            self.feed = None

        async def open(self, feed):
            self.feed = feed
            return Snapshot(self.ledger.revision, 0, list(self.log))

        async def close(self):
            self.feed = None

        async def commit(self, write):
            change = self.ledger.stage(write)
            self.ledger.keep()
            self.log.append(change._replace(origin=None))
            self.feed([change])
            return change.revision

        async def compact(self, revision):
            pass
"""


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """``distribution("acme", {"kubernel.controller": {"x": "acme_x:Plugin"}}, acme_x="source")``: makes its
    entry points and modules visible for one test."""
    made: list[str] = []
    before = set(sys.modules)

    def make(
        name: str, entry_points: Mapping[str, Mapping[str, str]], version: str = "1.0", **modules: str
    ) -> Path:
        root = tmp_path / f"dist-{name}-{len(made)}"
        metadata = root / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines: list[str] = []
        for group, points in entry_points.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), ""]
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        for module, source in modules.items():
            (root / f"{module}.py").write_text(dedent(source))
        made.append(name)
        monkeypatch.syspath_prepend(str(root))
        importlib.invalidate_caches()
        return root

    yield make
    for module in set(sys.modules) - before:
        if getattr(sys.modules[module], "__file__", None) and str(tmp_path) in str(
            sys.modules[module].__file__
        ):
            del sys.modules[module]


@pytest.fixture
def memory_store(distribution: Distribution) -> str:
    """The name of a store driver that needs nothing of ``kubernel_plugins``."""
    points = {"kubernel.store": {"test-memory": "kernel_test_store:Store"}}
    distribution("kernel-test-store", points, kernel_test_store=STORE, kernel_test_backend=BACKEND)
    return "test-memory"
