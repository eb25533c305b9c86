"""The kubelet's parts by themselves: environment, atomic directories, log reading."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any, cast

import pytest

from kubernel.clock import RealClock
from kubernel.plugin.contract import Runtime
from kubernel_plugins.node.kubelet.atomic import write_payload
from kubernel_plugins.node.kubelet.environment import (
    ConfigProblem,
    expand,
    field_value,
    resource_value,
    service_variables,
)
from kubernel_plugins.node.kubelet.handlers import handle
from kubernel_plugins.node.kubelet.logs import LogOptions, read_log, tail_of


@pytest.mark.parametrize(
    ("text", "result"),
    [
        pytest.param("$(A)", "a", id="known"),
        pytest.param("$(B)", "$(B)", id="unknown stays"),
        pytest.param("$$(A)", "$(A)", id="escaped"),
        pytest.param("$$$(A)", "$a", id="escape, then reference"),
        pytest.param("$A $", "$A $", id="no reference"),
        pytest.param("$(A", "$(A", id="unclosed"),
        pytest.param("x$(A)y$(A)", "xaya", id="several"),
    ],
)
def test_references_in_text_are_expanded(text: str, result: str) -> None:
    assert expand(text, {"A": "a"}) == result


def service(name: str, namespace: str, address: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "ports": list(ports)},
    }


def test_services_are_told_in_the_environment() -> None:
    services = [
        service("my-db", "app", "10.96.0.9", {"name": "sql", "port": 5432, "protocol": "TCP"}),
        service("kubernetes", "default", "10.96.0.1", {"name": "https", "port": 443}),
        service("headless", "app", "None", {"port": 1}),
        service("elsewhere", "default", "10.96.0.8", {"port": 1}),
    ]
    found = service_variables(services, "app", links=True)
    assert found["MY_DB_SERVICE_HOST"] == "10.96.0.9"
    assert found["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert found["MY_DB_PORT_5432_TCP_ADDR"] == "10.96.0.9"
    assert found["MY_DB_PORT"] == "tcp://10.96.0.9:5432"
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert not any(name.startswith(("HEADLESS", "ELSEWHERE")) for name in found)
    assert {name.split("_")[0] for name in service_variables(services, "app", links=False)} == {"KUBERNETES"}


def test_fields_of_the_pod() -> None:
    pod = {"metadata": {"name": "p", "labels": {"b": "2", "a": 'say "hi"'}}, "spec": {"nodeName": "n"}}
    assert field_value(pod, "metadata.labels", {}) == 'a="say \\"hi\\""\nb="2"'
    assert field_value(pod, "metadata.annotations['none']", {}) == ""
    assert field_value(pod, "status.podIP", {"status.podIP": "127.1.2.3"}) == "127.1.2.3"
    with pytest.raises(ConfigProblem, match="unsupported fieldPath"):
        field_value(pod, "spec.containers", {})


@pytest.mark.parametrize(
    ("ref", "value"),
    [
        pytest.param({"resource": "limits.cpu"}, "1", id="cpu is rounded up to whole ones"),
        pytest.param({"resource": "limits.cpu", "divisor": "1m"}, "300", id="divisor"),
        pytest.param({"resource": "requests.memory", "divisor": "1Mi"}, "64", id="memory"),
        pytest.param({"resource": "limits.memory"}, "1073741824", id="no limit is what the node has"),
        pytest.param({"resource": "requests.cpu"}, "0", id="no request is nothing"),
    ],
)
def test_resources_of_the_container(ref: dict[str, str], value: str) -> None:
    container = {"resources": {"limits": {"cpu": "300m"}, "requests": {"memory": "64Mi"}}}
    assert resource_value(container, ref, {"cpu": "8", "memory": "1Gi"}) == value


def shown(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in directory.rglob("*")
        if path.is_file() and not path.relative_to(directory).parts[0].startswith("..")
    }


def test_directory_changes_as_a_whole(tmp_path: Path) -> None:
    assert write_payload(tmp_path / "v", {"a": (b"1", 0o644), "deep/b": (b"2", 0o400)})
    target = os.readlink(tmp_path / "v" / "..data")
    assert (tmp_path / "v" / "a").read_text() == "1"
    assert (tmp_path / "v" / "deep" / "b").stat().st_mode & 0o777 == 0o400
    assert not write_payload(tmp_path / "v", {"a": (b"1", 0o644), "deep/b": (b"2", 0o400)})
    assert os.readlink(tmp_path / "v" / "..data") == target
    assert write_payload(tmp_path / "v", {"c": (b"3", 0o644)})
    assert sorted(path.name for path in (tmp_path / "v").iterdir() if not path.name.startswith("..")) == ["c"]
    assert len([path for path in (tmp_path / "v").iterdir() if path.name.startswith("..v")]) == 1
    assert write_payload(tmp_path / "v", {"c": (b"3", 0o600)})
    assert write_payload(tmp_path / "v", {})


def record(number: int, flag: str = "F") -> str:
    return f"2026-01-02T03:04:{number:02d}.000000006Z stdout {flag} line {number}\n"


def read(path: Path, options: LogOptions, ended: bool = True) -> str:
    async def work() -> bytes:
        return b"".join([chunk async for chunk in read_log(path, options, RealClock(), lambda: ended)])

    return asyncio.run(work()).decode()


def test_tail_is_found_from_the_end_of_a_long_log(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_text("".join(record(n % 60) for n in range(20_000)))
    assert read(log, LogOptions(tail=3)) == "line 17\nline 18\nline 19\n"
    assert read(log, LogOptions(tail=30_000)).count("\n") == 20_000
    assert read(log, LogOptions(tail=0)) == ""


def test_partial_records_join_and_unfinished_ones_wait(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_text(record(1, "P") + record(2) + record(3).rstrip("\n"))
    assert read(log, LogOptions()) == "line 1line 2\n"


def test_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_text("".join(record(n) for n in range(10)))
    options = LogOptions.parse({"sinceTime": "2026-01-02T03:04:08Z"}, 0.0)
    assert read(log, options) == "line 8\nline 9\n"


def test_missing_log_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none", LogOptions(follow=True)) == ""
    assert tail_of(tmp_path / "none") == ""


def test_following_survives_rotation(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_text(record(1))

    async def work() -> list[bytes]:
        chunks: list[bytes] = []
        async for chunk in read_log(log, LogOptions(follow=True), RealClock(), lambda: len(chunks) >= 3):
            chunks.append(chunk)
            if len(chunks) == 1:
                with log.open("a") as file:
                    file.write(record(2))
                log.rename(tmp_path / "0.log.old")
                log.write_text(record(3))
        return chunks

    assert b"".join(asyncio.run(asyncio.wait_for(work(), 20))) == b"line 1\nline 2\nline 3\n"


def test_message_from_the_log_is_its_end_only(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_text("".join(record(n % 60) for n in range(1000)))
    text = tail_of(log)
    assert text.endswith("line 39\n")
    assert text.count("\n") <= 80


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        pytest.param({"tcpSocket": {"port": "http"}}, "dial tcp {at}: connect: connection refused", id="tcp"),
        pytest.param(
            {"httpGet": {"port": "http", "path": "/up"}},
            'Get "http://{at}/up": dial tcp {at}: connect: connection refused',
            id="http",
        ),
    ],
)
def test_a_probe_that_nobody_answers_tells_the_number_of_a_named_port(
    handler: dict[str, Any], told: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    container = {"name": "web", "ports": [{"name": "http", "containerPort": port}]}
    answer = asyncio.run(
        handle(
            handler,
            container=container,
            container_id="c",
            address="127.0.0.1",
            runtime=cast(Runtime, None),  # only ``exec`` asks it
            clock=RealClock(),
            timeout=5,
        )
    )
    assert answer == (False, told.format(at=f"127.0.0.1:{port}"))
