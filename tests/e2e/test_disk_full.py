"""A cluster whose disk is full: it says so, keeps what it has acknowledged, and goes on when there is room."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Wire

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"


class SmallDisk:
    """A file system of 24 MB that exists only in a mount namespace of its own. ``holder`` keeps it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        script = 'mount -t tmpfs -o size=24m,mode=0700 tmpfs "$1" && echo mounted && exec sleep infinity'
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(place)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        self.mounted = self.holder.stdout.readline() == "mounted\n"

    @property
    def prefix(self) -> list[str]:
        """Runs a command where the disk is."""
        return ["nsenter", "--target", str(self.holder.pid), "--mount"]

    @property
    def root(self) -> Path:
        """The file system with the disk in it, as seen from here."""
        return Path(f"/proc/{self.holder.pid}/root")

    def fill(self) -> None:
        with open(self._ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.root / self.place.relative_to("/") / "ballast"

    def close(self) -> str:
        self.holder.kill()
        return self.holder.communicate()[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small"
    place.mkdir()
    disk = SmallDisk(place)
    try:
        if not disk.mounted:
            pytest.skip(f"no mount namespace of its own: {disk.close().strip()}")
        yield disk
    finally:
        disk.close()


def config_map(name: str, size: int = 20_000) -> dict[str, Any]:
    data = {"bulk": os.urandom(size // 2).hex()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.mark.root
def test_a_full_disk_refuses_writes_serves_reads_and_loses_nothing(
    small_disk: SmallDisk, own_cluster: Any
) -> None:
    own_cluster.prefix = small_disk.prefix
    own_cluster.data = small_disk.place / "data"
    own_cluster.up()
    wire = Wire(own_cluster.data, small_disk.root)
    kept: dict[str, Any] = {}

    def keep(name: str) -> bool:
        obj = config_map(name)
        answer = wire("POST", MAPS, obj)
        if answer.status == 201:
            kept[name] = obj["data"]
            return True
        answer.refused(500, "InternalError", "no space left")
        return False

    for number in range(20):
        assert keep(f"before{number}")
    small_disk.fill()
    refused = 0
    for number in range(200):
        refused += not keep(f"full{number}")
        if refused == 10:
            break
    assert refused == 10

    def everything_is_there(wire: Wire) -> None:
        listed = wire("GET", f"{MAPS}?limit=1000").json["items"]
        names = {one["metadata"]["name"]: one["data"] for one in listed}
        names.pop("kube-root-ca.crt", None)
        assert names == kept

    everything_is_there(wire)
    assert wire("GET", "/livez").status == 200
    wire("PATCH", f"{MAPS}/before0", {"data": {"bulk": "x" * 200_000}}, MERGE).refused(500, "InternalError")
    assert wire("GET", f"{MAPS}/before0").json["data"] == kept["before0"]

    small_disk.free()
    assert keep("after")
    everything_is_there(wire)
    assert wire("GET", "/readyz").status == 200
    os.kill(wire.pid, signal.SIGKILL)
    own_cluster.up()
    everything_is_there(Wire(own_cluster.data, small_disk.root))
    own_cluster.down()


@pytest.mark.root
def test_a_cluster_does_not_come_up_on_a_full_disk_and_does_later(
    small_disk: SmallDisk, own_cluster: Any
) -> None:
    own_cluster.prefix = small_disk.prefix
    own_cluster.data = small_disk.place / "data"
    own_cluster.up()
    wire = Wire(own_cluster.data, small_disk.root)
    kept = config_map("kept")
    assert wire("POST", MAPS, kept).status == 201
    own_cluster.down()
    small_disk.fill()
    done = own_cluster.run("up", "--detach", "--data-dir", str(own_cluster.data), "--port", "0")
    if done.returncode != 0:
        assert "space" in done.stderr.lower()
        assert "Traceback" not in done.stderr
    else:
        own_cluster.down()
    small_disk.free()
    own_cluster.up()
    wire = Wire(own_cluster.data, small_disk.root)
    assert wire("GET", f"{MAPS}/kept").json["data"] == kept["data"]
    own_cluster.down()
