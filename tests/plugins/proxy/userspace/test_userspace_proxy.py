"""Services are reachable at their addresses: real sockets on loopback."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kubernel.testing import Cluster


class Echo(socketserver.ThreadingTCPServer):
    """Answers each connection with its name, then echoes until the client has said everything."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, name: str, address: str = "127.0.0.1") -> None:
        self.name = name.encode()
        super().__init__((address, 0), _Echo)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Echo)
        self.wfile.write(self.server.name + b":")
        self.wfile.write(self.rfile.read())


@pytest.fixture
def echo() -> Iterator[Callable[[str], Echo]]:
    servers: list[Echo] = []

    def make(name: str) -> Echo:
        servers.append(Echo(name))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def proxied(cluster_factory: Callable[..., Cluster]) -> Cluster:
    return cluster_factory(config={"plugins": {"proxy": "userspace"}}, real_time=True)


def call(address: str, port: int, said: bytes = b"hi") -> bytes:
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while chunk := connection.recv(65536):
            heard += chunk
        return heard


def service(cluster: Cluster, name: str = "web", **spec: Any) -> dict[str, Any]:
    made = cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"ports": [{"port": 8080}], **spec},
        }
    )
    return dict(made)


def endpoints(cluster: Cluster, *backends: Echo, name: str = "web", **conditions: bool) -> None:
    for number, backend in enumerate(backends):
        cluster.create(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-{number}",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["127.0.0.1"], "conditions": conditions}],
                "ports": [{"name": "", "port": backend.port, "protocol": "TCP"}],
            }
        )


def reachable(cluster: Cluster, address: str, port: int, want: bytes) -> None:
    cluster.wait(lambda: _tried(address, port) == want)


def _tried(address: str, port: int) -> bytes | None:
    try:
        return call(address, port)
    except OSError:
        return None


def test_connections_go_to_every_endpoint_in_turn(proxied: Cluster, echo: Callable[[str], Echo]) -> None:
    address = service(proxied)["spec"]["clusterIP"]
    endpoints(proxied, echo("a"), echo("b"))
    proxied.wait(lambda: {_tried(address, 8080) for _ in range(4)} == {b"a:hi", b"b:hi"})
    assert sorted(call(address, 8080) for _ in range(4)) == [b"a:hi", b"a:hi", b"b:hi", b"b:hi"]


def test_much_data_passes_in_both_directions(proxied: Cluster, echo: Callable[[str], Echo]) -> None:
    address = service(proxied)["spec"]["clusterIP"]
    endpoints(proxied, echo("a"))
    reachable(proxied, address, 8080, b"a:hi")
    said = bytes(range(256)) * 8192
    assert call(address, 8080, said) == b"a:" + said


def test_an_endpoint_that_is_down_is_passed_over(proxied: Cluster, echo: Callable[[str], Echo]) -> None:
    address = service(proxied)["spec"]["clusterIP"]
    dead = Echo("dead")
    dead.stop()
    endpoints(proxied, dead, echo("alive"))
    reachable(proxied, address, 8080, b"alive:hi")
    assert [call(address, 8080) for _ in range(4)] == [b"alive:hi"] * 4


def test_with_client_affinity_a_client_stays_where_it_is(
    proxied: Cluster, echo: Callable[[str], Echo]
) -> None:
    address = service(proxied, sessionAffinity="ClientIP")["spec"]["clusterIP"]
    endpoints(proxied, echo("a"), echo("b"))
    proxied.wait(lambda: _tried(address, 8080) is not None)
    assert len({call(address, 8080) for _ in range(6)}) == 1


def test_node_ports_are_listened_on(proxied: Cluster, echo: Callable[[str], Echo]) -> None:
    port = service(proxied, type="NodePort")["spec"]["ports"][0]["nodePort"]
    endpoints(proxied, echo("a"))
    reachable(proxied, "127.0.0.1", port, b"a:hi")


def test_endpoints_that_are_not_ready_get_nothing(proxied: Cluster, echo: Callable[[str], Echo]) -> None:
    address = service(proxied)["spec"]["clusterIP"]
    endpoints(proxied, echo("a"), ready=False)
    other = service(proxied, "other")["spec"]["clusterIP"]
    endpoints(proxied, echo("b"), name="other")
    reachable(proxied, other, 8080, b"b:hi")
    with pytest.raises(OSError, match=r"(?i)reset|pipe|not connected"):
        call(address, 8080)


def test_a_deleted_service_is_no_longer_there(proxied: Cluster, echo: Callable[[str], Echo]) -> None:
    address = service(proxied)["spec"]["clusterIP"]
    endpoints(proxied, echo("a"))
    reachable(proxied, address, 8080, b"a:hi")
    proxied.delete("services", "web")
    proxied.wait(lambda: _tried(address, 8080) is None)
    with pytest.raises(ConnectionRefusedError):
        call(address, 8080)


def test_an_address_that_is_taken_is_told_in_an_event(proxied: Cluster) -> None:
    listener, port = _listen_on_a_node_port()
    with listener:
        service(proxied, type="NodePort", ports=[{"port": 8080, "nodePort": port}])
        proxied.wait(lambda: any(event["reason"] == "FailedToListen" for event in proxied.list("events")))


def _listen_on_a_node_port() -> tuple[socket.socket, int]:
    for port in range(32767, 30000, -1):
        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        listener.listen()
        return listener, port
    pytest.skip("every node port is taken")
