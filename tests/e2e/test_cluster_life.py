"""The cluster's own life: up, restart, kill -9, refusals, down."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.kubectl

POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: keep}
spec:
  replicas: 2
  selector: {matchLabels: {app: keep}}
  template:
    metadata: {labels: {app: keep}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: x, command: [sleep, "98765"]}]
"""


def _sleepers(marker: bytes = b"98765") -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if line[:2] == [b"sleep", marker]:
                found.append(int(entry.name))
    return found


def test_a_cluster_comes_up_and_goes_down_and_leaves_nothing(own_cluster: Any) -> None:
    own_cluster.up()
    kubectl = own_cluster.kubectl()
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("rollout", "status", "deployment/keep", "--timeout=60s")
    assert len(_sleepers()) == 2
    status = own_cluster.run("status", "--data-dir", str(own_cluster.data))
    assert status.returncode == 0, status.stderr
    own_cluster.down()
    assert _sleepers() == []
    assert own_cluster.run("status", "--data-dir", str(own_cluster.data)).returncode != 0
    own_cluster.up()
    kubectl("rollout", "status", "deployment/keep", "--timeout=60s")
    kubectl.until(lambda: len(_sleepers()) == 2, "the processes' return")
    own_cluster.down()
    assert _sleepers() == []


def test_a_killed_cluster_comes_back_with_everything_and_nothing_twice(own_cluster: Any) -> None:
    own_cluster.up()
    kubectl = own_cluster.kubectl()
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("rollout", "status", "deployment/keep", "--timeout=60s")
    for number in range(5):
        kubectl("create", "configmap", f"c{number}", f"--from-literal=n={number}")
    pid = json.loads((own_cluster.data / "run" / "kubernel.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    own_cluster.up()
    assert kubectl("get", "cm", "-o", "name").count("configmap/c") == 5
    kubectl("rollout", "status", "deployment/keep", "--timeout=60s")
    kubectl.until(lambda: len(_sleepers()) == 2, "two processes, no more")
    own_cluster.down()
    assert _sleepers() == []


def test_nothing_in_the_data_directory_is_readable_by_others(own_cluster: Any) -> None:
    own_cluster.up()
    for path in [own_cluster.data, *own_cluster.data.rglob("*")]:
        if path.is_symlink() or path.is_relative_to(own_cluster.data / "pods"):
            continue
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir():
            assert mode & 0o077 == 0 or path.parent != own_cluster.data, f"{path} is {mode:o}"
        elif path.suffix != ".crt":
            assert mode & 0o077 == 0, f"{path} is {mode:o}"
    own_cluster.down()


def test_a_second_cluster_on_the_same_directory_is_refused(own_cluster: Any) -> None:
    own_cluster.up()
    done = own_cluster.run("up", "--detach", "--data-dir", str(own_cluster.data), "--port", "0")
    assert done.returncode != 0
    assert str(own_cluster.data) in done.stderr
    own_cluster.kubectl()("get", "nodes")
    own_cluster.down()


def test_a_taken_port_is_named(own_cluster: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = own_cluster.run("up", "--detach", "--data-dir", str(own_cluster.data), "--port", port)
    assert done.returncode != 0
    assert port in done.stderr


def test_a_corrupt_database_is_refused_and_left_alone(own_cluster: Any) -> None:
    own_cluster.up()
    own_cluster.kubectl()("create", "configmap", "c", "--from-literal=a=b")
    own_cluster.down()
    files = [path for path in (own_cluster.data / "store").rglob("*") if path.is_file()]
    database = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(database.read_bytes())
    content[: len(content) // 2] = os.urandom(len(content) // 2)
    database.write_bytes(content)
    done = own_cluster.run("up", "--detach", "--data-dir", str(own_cluster.data), "--port", "0")
    assert done.returncode != 0
    assert database.name in done.stderr
    assert database.read_bytes() == bytes(content)


def test_reset_forgets_everything(own_cluster: Any) -> None:
    own_cluster.up()
    running = own_cluster.run("reset", "--yes", "--data-dir", str(own_cluster.data))
    if running.returncode == 0:
        assert not own_cluster.data.exists()
        return
    own_cluster.down()
    done = own_cluster.run("reset", "--yes", "--data-dir", str(own_cluster.data))
    assert done.returncode == 0, done.stderr
    assert not own_cluster.data.exists()


def test_the_kubeconfig_is_merged_without_touching_other_contexts(own_cluster: Any) -> None:
    own_cluster.up()
    theirs = own_cluster.home / ".kube" / "config"
    theirs.parent.mkdir()
    theirs.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: work\n"
        "contexts: [{name: work, context: {cluster: w, user: w}}]\n"
        "clusters: [{name: w, cluster: {server: 'https://work.invalid'}}]\nusers: [{name: w, user: {token: t}}]\n"
    )
    done = own_cluster.run("kubeconfig", "--merge", "--data-dir", str(own_cluster.data))
    assert done.returncode == 0, done.stderr
    kubectl = own_cluster.kubectl()
    kubectl.environment["KUBECONFIG"] = str(theirs)
    contexts = kubectl("config", "get-contexts", "-o", "name").split()
    assert "work" in contexts
    assert len(contexts) == 2
    other = next(name for name in contexts if name != "work")
    assert "Ready" in kubectl("--context", other, "get", "nodes")
    own_cluster.down()
