"""Real pods: the kubelet with the process runtime, in real time."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubernel.errors import ApiError, BadRequest, InternalError
from kubernel.testing import Cluster

PLUGINS = {
    "store": "memory",
    "admission": [],
    "controller": [],
    "scheduler": [],
    "scheduler_policy": [],
    "network": "host",
    "runtime": "process",
    "node": ["kubelet"],
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(config={"plugins": PLUGINS}, real_time=True, data_dir=tmp_path / "data")
    yield cluster
    cluster.stop()


def pod(
    name: str, script: str = "sleep 1000", container: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    main = {"name": "main", "image": "busybox", "command": ["sh", "-c", script], **(container or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": "node-1",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "containers": [main],
            **spec,
        },
    }


def phase(node: Cluster, name: str, *wanted: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        found: dict[str, Any] = node.get("pods", name).get("status", {})
        return found if found.get("phase") in wanted else None

    answer = node.wait(reached, timeout=20)
    assert answer is not None
    return answer


def logs(node: Cluster, name: str, container: str = "main", **options: str) -> str:
    async def read() -> bytes:
        streams = node.kernel.hooks.node_streams("node-1")
        client = node.kernel.client("kubernetes-admin", ("system:masters",))
        target = await client.get("pods", name, "default")
        return b"".join([chunk async for chunk in streams.logs(target, container, options)])

    return node.run(read()).decode()


def finish(node: Cluster, name: str) -> tuple[dict[str, Any], str]:
    found = phase(node, name, "Succeeded", "Failed")
    return found, logs(node, name)


def test_process_runs_with_everything_resolved(node: Cluster) -> None:
    node.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"K": "from-map"}}
    )
    secret = {"K": base64.b64encode(b"from-secret").decode()}
    node.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": secret})
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)-$(MISSING)-$$(A)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "MAP", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "K"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "K"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "K", "optional": True}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]
    container = {
        "env": env,
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
        "resources": {"limits": {"cpu": "250m"}},
        "args": ["x", "$(A)"],
    }
    script = 'echo "$B|$NAME|$APP|$MAP|$SECRET|${NONE-unset}|$CPU|$P_K|$1"; echo $IP'
    node.create(pod("env", script, container))
    found, text = finish(node, "env")
    assert found["phase"] == "Succeeded"
    assert text.splitlines() == [
        "a-$(MISSING)-$(A)|env|env|from-map|from-secret|unset|250|from-map|a",
        found["podIP"],
    ]


def test_exit_code_and_termination_message_are_reported(node: Cluster) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    node.create(pod("code", "echo last words; exit 3", container))
    node.create(pod("file", 'printf told > "$KUBERNEL_TERMINATION_LOG"'))
    state = phase(node, "code", "Failed")["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"], state["message"]) == (3, "Error", "last words\n")
    state = phase(node, "file", "Succeeded")["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"], state["message"]) == (0, "Completed", "told")


def test_volumes_are_there_and_follow_their_source(node: Cluster, tmp_path: Path) -> None:
    node.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "one"}})
    volumes = [
        {"name": "config", "configMap": {"name": "c", "defaultMode": 0o640}},
        {"name": "scratch", "emptyDir": {}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "c", "items": [{"key": "k", "path": "deep/k"}]}},
                    {
                        "downwardAPI": {
                            "items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
                        }
                    },
                ]
            },
        },
    ]
    mounts = [
        {"name": "config", "mountPath": str(tmp_path / "m/config")},
        {"name": "scratch", "mountPath": str(tmp_path / "m/scratch")},
        {"name": "all", "mountPath": str(tmp_path / "m/all")},
    ]
    script = (
        f"cd {tmp_path}/m; cat config/k; stat -L -c %a config/k scratch; cat all/deep/k all/name; "
        "until grep -q two config/k; do sleep 0.02; done"
    )
    node.create(pod("vol", script, {"volumeMounts": mounts}, volumes=volumes))
    node.wait(lambda: (tmp_path / "m/all/name").exists() or None, timeout=20)
    node.patch("configmaps", "c", {"data": {"k": "two"}})
    _found, text = finish(node, "vol")
    assert text == "one640\n777\nonevol"
    assert not (tmp_path / "m").exists()


def test_missing_command_waits_with_advice_and_the_image_is_told_once(node: Cluster) -> None:
    node.create(pod("none", container={"command": None}))

    def waiting() -> dict[str, Any] | None:
        statuses = node.get("pods", "none").get("status", {}).get("containerStatuses") or [{}]
        return statuses[0].get("state", {}).get("waiting")

    told = node.wait(lambda: w if (w := waiting()) and "message" in w else None, timeout=20)
    assert told["reason"] == "CreateContainerConfigError"
    assert 'image "busybox" is recorded but not run by the process runtime: add a command' in told["message"]
    node.create(pod("some", "true"))
    phase(node, "some", "Succeeded")

    def reasons() -> list[str]:
        return [e["reason"] for e in node.list("events") if e["involvedObject"]["name"] == "some"]

    assert node.wait(lambda: r if len(r := reasons()) >= 3 else None) == [
        "Created",
        "Started",
        "ImageNotUsed",
    ]


def test_killed_process_comes_back(node: Cluster) -> None:
    node.create(pod("back", "echo $$$$; sleep 1000", restartPolicy="Always"))
    phase(node, "back", "Running")
    pid = int(node.wait(lambda: logs(node, "back") or None, timeout=20))
    os.kill(pid, 9)

    def restarted() -> dict[str, Any] | None:
        (container,) = node.get("pods", "back")["status"]["containerStatuses"]
        return container if container["restartCount"] == 1 and "running" in container["state"] else None

    container = node.wait(restarted, timeout=20)
    assert container["lastState"]["terminated"]["exitCode"] == 137
    assert logs(node, "back", previous="true") == f"{pid}\n"


def test_log_options(node: Cluster) -> None:
    node.create(pod("log", "for i in 1 2 3 4 5; do echo line $i; done; printf rest"))
    phase(node, "log", "Succeeded")
    assert logs(node, "log") == "line 1\nline 2\nline 3\nline 4\nline 5\nrest"
    assert logs(node, "log", tailLines="2") == "line 5\nrest"
    assert logs(node, "log", limitBytes="9") == "line 1\nli"
    assert logs(node, "log", tailLines="0") == ""
    stamped = logs(node, "log", timestamps="true", tailLines="2").splitlines()[0]
    assert stamped.endswith("Z line 5")
    assert logs(node, "log", sinceTime="2100-01-01T00:00:00Z") == ""


def test_followed_log_ends_with_the_container(node: Cluster) -> None:
    node.create(pod("follow", "echo first; sleep 0.3; echo second"))
    phase(node, "follow", "Running", "Succeeded")
    assert logs(node, "follow", follow="true") == "first\nsecond\n"


def test_log_of_a_container_that_has_not_started_says_why(node: Cluster) -> None:
    node.create(pod("unborn", volumes=[{"name": "v", "configMap": {"name": "missing"}}]))
    phase(node, "unborn", "Pending")
    node.wait(lambda: node.get("pods", "unborn")["status"].get("containerStatuses"), timeout=20)
    with pytest.raises(
        BadRequest, match='container "main" in pod "unborn" is waiting to start: ContainerCreating'
    ):
        logs(node, "unborn")


def test_exec_runs_beside_the_container(node: Cluster) -> None:
    node.create(pod("exec"))
    phase(node, "exec", "Running")

    async def work() -> tuple[bytes, int]:
        streams = node.kernel.hooks.node_streams("node-1")
        client = node.kernel.client("kubernetes-admin", ("system:masters",))
        target = await client.get("pods", "exec", "default")
        with pytest.raises(InternalError, match="executable file not found"):
            await streams.exec(target, "main", ["no-such"], stdin=False, tty=False)
        execution = await streams.exec(
            target, "main", ["sh", "-c", "echo hi; exit 7"], stdin=False, tty=False
        )
        said = b"".join([data async for _, data in execution.output()])
        return said, await execution.wait()

    assert node.run(work()) == (b"hi\n", 7)


SERVER = """
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/moved':
            self.send_response(302); self.send_header('Location', '/fine'); self.end_headers(); return
        self.send_response(200 if self.path == '/fine' else 500); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *a): pass
s = http.server.HTTPServer((os.environ['IP'], 0), H)
open(os.environ['PORT_FILE'], 'w').write(str(s.server_port))
s.serve_forever()
"""


def test_http_probes_and_port_forward_reach_the_pods_address(node: Cluster, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = SERVER.replace("0), H)", f"{port}), H)")
    container = {
        "command": [sys.executable, "-c", script],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "PORT_FILE", "value": str(tmp_path / "port")},
        ],
        "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {"httpGet": {"path": "/moved", "port": "http"}, "periodSeconds": 1},
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", f"echo yes > {tmp_path}/hook"]}}},
    }
    node.create(pod("http", container=container))

    def ready() -> bool | None:
        conditions = node.get("pods", "http").get("status", {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) or None

    assert node.wait(ready, timeout=30)
    assert (tmp_path / "hook").read_text() == "yes\n"

    async def fetch() -> bytes:
        streams = node.kernel.hooks.node_streams("node-1")
        client = node.kernel.client("kubernetes-admin", ("system:masters",))
        target = await client.get("pods", "http", "default")
        reader, writer = await streams.dial(target, port)
        writer.write(b"GET /fine HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        with pytest.raises(ApiError, match="failed to connect to port 1 of pod http"):
            await streams.dial(target, 1)
        return answer

    assert node.run(fetch()).endswith(b"ok")


def test_deletion_ends_the_processes_and_leaves_nothing(node: Cluster, tmp_path: Path) -> None:
    node.create(
        pod("gone", "trap 'exit 0' TERM; setsid sleep 1000 & echo $! $$$$; while :; do sleep 0.05; done")
    )
    phase(node, "gone", "Running")
    pids = [int(pid) for pid in node.wait(lambda: logs(node, "gone") or None, timeout=20).split()]
    node.delete("pods", "gone")
    node.wait(lambda: node.find("pods", "gone") is None or None, timeout=20)
    folders = [
        tmp_path / "data" / "pods",
        tmp_path / "data" / "logs" / "pods",
        tmp_path / "data" / "run" / "process",
    ]
    node.wait(lambda: not any(list(folder.iterdir()) for folder in folders) or None, timeout=20)
    # An orphan's entry goes when init reaps it.
    node.wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids) or None, timeout=20)


def test_pods_are_taken_up_again_after_a_restart(tmp_path: Path) -> None:
    plugins = {**PLUGINS, "store": "sqlite"}
    first = Cluster(config={"plugins": plugins}, real_time=True, data_dir=tmp_path / "data")
    try:
        first.create(pod("stays", "echo up; sleep 1000", restartPolicy="Always"))
        first.create(pod("done", "true"))
        phase(first, "stays", "Running")
        phase(first, "done", "Succeeded")
        address = first.get("pods", "stays")["status"]["podIP"]
    finally:
        first.stop()
    second = Cluster(config={"plugins": plugins}, real_time=True, data_dir=tmp_path / "data")
    try:

        def back() -> dict[str, Any] | None:
            (container,) = second.get("pods", "stays")["status"]["containerStatuses"]
            return container if container["restartCount"] == 1 and "running" in container["state"] else None

        container = second.wait(back, timeout=20)
        assert container["lastState"]["terminated"]["exitCode"] == 143
        assert second.get("pods", "stays")["status"]["podIP"] == address
        assert second.get("pods", "done")["status"]["phase"] == "Succeeded"
        assert second.get("pods", "done")["status"]["containerStatuses"][0]["restartCount"] == 0
    finally:
        second.stop()
