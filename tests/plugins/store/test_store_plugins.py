"""The store plugins as the kernel meets them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubernel.clock import VirtualClock
from kubernel.store import Key, ObjectStore
from kubernel_plugins.store import memory, sqlite


@pytest.mark.parametrize("module", [memory, sqlite], ids=["memory", "sqlite"])
def test_a_store_plugin_is_built_without_side_effects_and_its_backend_serves(
    module: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        clock = VirtualClock()
        handle = SimpleNamespace(data_dir=tmp_path, clock=clock, spawn=lambda work, name: work.close())
        plugin = module.Plugin(module.Settings(retention=60), handle)
        assert list(tmp_path.iterdir()) == []
        assert plugin.backend.retention == 60
        await plugin.start()
        store = ObjectStore(plugin.backend, VirtualClock())
        await store.start()
        assert (await store.create(Key("pods", "ns", "a"), {"metadata": {}})).revision == 1
        await store.stop()
        await plugin.stop()

    asyncio.run(work())


def test_a_store_plugin_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    asyncio.run(
        sqlite.Plugin(sqlite.Settings(), SimpleNamespace(data_dir=tmp_path, clock=VirtualClock())).stop()
    )
    assert list(tmp_path.iterdir()) == []


def test_the_database_lies_where_the_settings_say(tmp_path: Path) -> None:
    async def work() -> None:
        plugin = sqlite.Plugin(
            sqlite.Settings(path="db/x.db"), SimpleNamespace(data_dir=tmp_path, clock=VirtualClock())
        )
        store = ObjectStore(plugin.backend, VirtualClock())
        await store.start()
        assert (tmp_path / "db" / "x.db").exists()
        await store.stop()

    asyncio.run(work())
