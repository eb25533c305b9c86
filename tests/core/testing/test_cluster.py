"""The test kit: what its users see."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubernel.errors import Conflict, NotFound, ServiceUnavailable
from kubernel.testing import Cluster
from kubernel.testing.driving import seconds

Start = Callable[..., Cluster]


def config_map(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def test_a_cluster_begins_with_what_it_is_given_at_the_time_it_is_given(tiny: Start) -> None:
    kept = config_map("a", data={"x": "1"})
    kept["metadata"] |= {"namespace": "default", "uid": "u-1", "creationTimestamp": "2001-01-01T00:00:00Z"}
    cluster = tiny(contents=[kept], start=1_000_000_000.0)
    found = cluster.get("configmaps", "a")
    assert (found["metadata"]["uid"], found["data"]) == ("u-1", {"x": "1"})
    assert cluster.clock.time() == 1_000_000_000.0
    assert cluster.patch("configmaps", "a", {"data": {"y": "2"}})["metadata"]["uid"] == "u-1"
    with pytest.raises(ValueError, match="contents: no kind Nothing in v9"):
        tiny(contents=[{"apiVersion": "v9", "kind": "Nothing", "metadata": {"name": "a"}}])


def test_objects_are_created_read_changed_and_deleted(tiny: Start) -> None:
    cluster = tiny()
    assert cluster.create(config_map("a", data={"x": "1"}))["metadata"]["namespace"] == "default"
    assert cluster.get("configmaps", "a")["data"] == {"x": "1"}
    assert cluster.patch("cm", "a", {"data": {"y": "2"}})["data"] == {"x": "1", "y": "2"}
    assert [obj["metadata"]["name"] for obj in cluster.list("configmap")] == ["a"]
    cluster.delete("configmaps", "a")
    assert cluster.find("configmaps", "a") is None
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        cluster.get("configmaps", "a")


def test_manifests_may_be_text_files_objects_or_lists(tiny: Start, tmp_path: Path) -> None:
    cluster = tiny()
    text = (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n---\n"
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n"
        "  metadata: {name: a, namespace: shop}\n"
    )
    assert [obj["kind"] for obj in cluster.apply(text)] == ["Namespace", "ConfigMap"]
    file = tmp_path / "more.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n")
    cluster.apply(file)
    cluster.apply(str(file), namespace="shop")
    cluster.apply(
        [config_map("c"), {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}]
    )
    assert cluster.get("configmaps", "b", "shop")
    assert cluster.get("widgets.v1.example.com", "w")
    with pytest.raises(NotFound, match='no matches for kind "Nothing" in version "v1"'):
        cluster.apply({"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "x"}})


def test_a_controller_acts_before_the_write_returns(tiny: Start) -> None:
    cluster = tiny("card")
    cluster.apply(namespace("shop", team="red"))
    assert cluster.get("configmaps", "owner-card", "shop")["data"] == {"team": "red"}
    cluster.delete("configmaps", "owner-card", "shop")
    assert cluster.get("configmaps", "owner-card", "shop")["data"] == {"team": "red"}
    cluster.apply(namespace("shop", team="blue"))
    assert cluster.get("configmaps", "owner-card", "shop")["data"] == {"team": "blue"}


def test_stored_objects_cannot_be_changed_by_mistake(tiny: Start) -> None:
    cluster = tiny()
    cluster.create(config_map("a", data={"x": "1"}))
    with pytest.raises(TypeError, match="belongs to the store"):
        cluster.get("configmaps", "a")["data"]["x"] = "2"


def test_time_stands_still_until_it_is_advanced(tiny: Start) -> None:
    cluster = tiny("ticker")
    begun = cluster.clock.time()
    ticker: Any = cluster.kernel.plugin("controller", "ticker")
    assert ticker.ticks == 0
    cluster.clock.advance("1h30s")
    assert ticker.ticks == 60
    assert cluster.clock.time() == begun + 3630


def test_wait_lets_just_enough_time_pass(tiny: Start) -> None:
    cluster = tiny("ticker")
    ticker: Any = cluster.kernel.plugin("controller", "ticker")
    begun = cluster.clock.time()
    assert cluster.wait(lambda: ticker.ticks == 3 and "done", timeout="10m") == "done"
    assert cluster.clock.time() == begun + 180
    with pytest.raises(AssertionError, match=r'not so after 5 of .*: configmaps "x" not found'):
        cluster.wait(lambda: cluster.get("configmaps", "x"), timeout=5)


def test_a_coroutine_that_waits_moves_the_clock_and_one_that_cannot_end_is_told(tiny: Start) -> None:
    cluster = tiny()
    begun = cluster.clock.time()
    cluster.run(cluster.kernel.clock.sleep(90))
    assert cluster.clock.time() == begun + 90
    with pytest.raises(TimeoutError, match="will not happen"):
        cluster.run(asyncio.Event().wait())


def test_two_clusters_of_one_seed_are_the_same_and_strangers_to_each_other(tiny: Start) -> None:
    uids = []
    for _ in range(2):
        cluster = tiny("card")
        cluster.apply(namespace("shop"))
        uids.append([obj["metadata"]["uid"] for obj in cluster.list("configmaps")])
    assert uids[0] == uids[1] != []
    other = tiny("card", seed=7)
    other.apply(namespace("shop"))
    assert [obj["metadata"]["uid"] for obj in other.list("configmaps")] != uids[0]


def test_lost_watches_lose_no_change(tiny: Start) -> None:
    cluster = tiny("card")
    for forget in (False, True):
        assert cluster.faults.drop_watches(forget=forget) > 0
        cluster.create(namespace(f"shop-{forget}".lower()))
    cluster.clock.advance("1m")
    found = {obj["metadata"]["namespace"] for obj in cluster.list("configmaps")}
    assert found == {"shop-false", "shop-true"}


def test_writes_fail_as_often_as_asked(tiny: Start) -> None:
    cluster = tiny("card")
    cluster.faults.fail_writes("configmaps", times=3)
    cluster.apply(namespace("shop"))
    assert cluster.find("configmaps", "owner-card", "shop") is None
    cluster.clock.advance(1)
    assert cluster.get("configmaps", "owner-card", "shop")
    cluster.faults.fail_writes("widgets.v1.example.com", Conflict("no"))
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    cluster.create(config_map("unharmed"))
    with pytest.raises(Conflict):
        cluster.create(widget)
    cluster.create(widget)
    cluster.faults.fail_writes("widgets.v1.example.com", times=100)
    with pytest.raises(ServiceUnavailable):
        cluster.delete("widgets.v1.example.com", "w")
    cluster.faults.clear()
    cluster.delete("widgets.v1.example.com", "w")


def test_a_slow_store_takes_its_time_on_the_clusters_clock(tiny: Start) -> None:
    cluster = tiny()
    cluster.faults.slow_store(5)
    begun = cluster.clock.time()
    cluster.create(config_map("a"))
    assert cluster.clock.time() == begun + 5


def test_a_crashed_controller_does_nothing_until_it_is_back(tiny: Start) -> None:
    cluster = tiny("card")
    with cluster.faults.outage("controller", "card"):
        cluster.apply(namespace("shop"))
        cluster.clock.advance("1h")
        assert cluster.find("configmaps", "owner-card", "shop") is None
    cluster.settle()
    assert cluster.get("configmaps", "owner-card", "shop")


def test_informers_are_shared_and_clients_see_the_same_objects(tiny: Start) -> None:
    cluster = tiny("card")

    async def check() -> None:
        first, second = cluster.client("one"), cluster.client("two")
        assert first.informer("configmaps") is second.informer("configmaps.v1")
        await first.informer("configmaps").synced()
        made = await first.create("configmaps", config_map("a"), "default")
        assert await second.get("configmaps", "a", "default") is made
        await asyncio.sleep(0)

    cluster.run(check())
    cluster.settle()


def test_in_real_time_nothing_can_be_advanced(tiny: Start) -> None:
    cluster = tiny("card", real_time=True)
    cluster.apply(namespace("shop"))
    assert cluster.wait(lambda: cluster.get("configmaps", "owner-card", "shop"), timeout=20)
    with pytest.raises(RuntimeError, match="cannot be advanced"):
        cluster.clock.advance(1)


def test_a_cluster_without_sockets_has_no_kubeconfig(tiny: Start) -> None:
    with pytest.raises(RuntimeError, match="https=True"):
        _ = tiny().kubeconfig


def test_stopping_twice_is_fine_and_leaves_nothing_behind(tiny: Start, tmp_path: Path) -> None:
    cluster = tiny("card")
    directory = cluster.data_dir
    cluster.stop()
    cluster.stop()
    assert not directory.exists()
    kept = tiny(data_dir=tmp_path / "kept")
    kept.stop()
    assert (tmp_path / "kept").is_dir()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", None),
        (90, 90.0),
        ("90s", 90.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("2d", 172800.0),
        ("", None),
    ],
)
def test_durations(text: Any, expected: float | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="not a duration"):
            seconds(text)
    else:
        assert seconds(text) == expected


def test_the_pytest_plugin_imports_nothing_of_kubernel_but_itself() -> None:
    code = (
        "import sys, kubernel.testing.pytest_plugin\n"
        "print(sorted(m for m in sys.modules if m.startswith(('kubernel', 'asyncio', 'yaml', 'orjson'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))
    assert loaded >= {"kubernel.testing.pytest_plugin"}
    assert not {name for name in loaded if name.startswith("kubernel.")} - {
        "kubernel.testing",
        "kubernel.testing.pytest_plugin",
    }


def test_a_cluster_stops_without_a_word(tiny: Start, capfd: pytest.CaptureFixture[str]) -> None:
    cluster = tiny("card", "ticker")
    cluster.apply(namespace("shop"))
    cluster.stop()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
