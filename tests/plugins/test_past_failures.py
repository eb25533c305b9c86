"""Failures of the field's past, each named after its CVE: they do not happen here. CVE-2018-1002105 is in
``api/http/test_aggregation.py``."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webhook_kit import WebhookServer
from workload_kit import pod

sys.path.insert(0, str(Path(__file__).parent / "api" / "http"))
from http_harness import PODS, RBAC, Raw, World, check

from kubernel.client.kubeconfig import load_kubeconfig
from kubernel.config import ClusterSettings
from kubernel.errors import Forbidden
from kubernel.registry.request import Request
from kubernel.testing import Cluster
from kubernel_plugins.node.kubelet.environment import ConfigProblem
from kubernel_plugins.node.kubelet.volumes import _below

Obj = dict[str, Any]


@pytest.fixture
def served() -> Iterator[Cluster]:
    with Cluster(https=True, real_time=True) as cluster:
        yield cluster


def talk(cluster: Cluster, request: str) -> tuple[Any, Any]:
    """(connection, reader) after a request of the administrator was sent."""
    access = load_kubeconfig(cluster.kubeconfig)
    host, _, port = access.url.removeprefix("https://").rpartition(":")
    raw = socket.create_connection((host, int(port)))
    context = access.ssl_context()
    assert context is not None
    connection = context.wrap_socket(raw, server_hostname=host)
    connection.sendall(request.encode())
    return connection, connection.makefile("rb")


def answer(reader: Any) -> tuple[int, bytes]:
    status = int(reader.readline().split()[1])
    head = {}
    while line := reader.readline().strip():
        key, _, value = line.partition(b":")
        head[key.lower()] = value.strip()
    return status, reader.read(int(head.get(b"content-length", b"0")))


def _role(kind: str, name: str, space: str = "") -> Obj:
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    metadata = {"name": name, **({"namespace": space} if space else {})}
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules}


def test_cve_2019_11247_a_role_in_a_namespace_gives_nothing_cluster_scoped(tmp_path: Path) -> None:
    async def body(world: World, raw: Raw) -> None:
        group = f"/apis/{RBAC}/v1"
        await raw.request("POST", f"{group}/namespaces/default/roles", _role("Role", "all"))
        binding = {
            "apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": {"name": "all"},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "all"},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "bob"}],
        }  # fmt: skip
        await raw.request("POST", f"{group}/namespaces/default/rolebindings", binding)
        bob = await Raw.open(world, world.context(user=("bob", ())))
        for _ in range(200):
            if (await bob.request("GET", PODS)).status == 200:
                break
        for method in ("GET", "DELETE"):
            reached = await bob.request(method, f"{group}/namespaces/default/clusterroles/cluster-admin")
            assert reached.status == 404
        assert (await bob.request("GET", f"{group}/namespaces/default/clusterroles")).status == 404
        assert (await raw.request("GET", f"{group}/clusterroles/cluster-admin")).status == 200
        await bob.close()

    check(body, tmp_path)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n"
                for a, b in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            id="cve-2019-11253-aliases",
        ),
        pytest.param("[" * 200_000, id="cve-2019-11254-brackets"),
        pytest.param("- " * 200_000, id="cve-2019-11254-dashes"),
        # Deeper than we allow, and not too deep for the parser.
        pytest.param("a: " + "[" * 300 + "]" * 300, id="cve-2019-11254-a-little-deep"),
        pytest.param("? " * 100_000, id="cve-2019-11254-keys"),
        pytest.param("{" * 100_000, id="cve-2019-11254-braces"),
    ],
)
def test_cve_2019_11253_and_11254_documents_that_grow_are_refused_at_once(
    tmp_path: Path, document: str
) -> None:
    async def body(world: World, raw: Raw) -> None:
        begun = time.process_time()
        refused = await raw.request("POST", PODS, document.encode(), {"Content-Type": "application/yaml"})
        assert refused.status == 400
        # Refused by a limit of ours, and not by what the parser happens to bear.
        assert any(words in refused.body for words in (b"excessive aliasing", b"levels deep"))
        assert time.process_time() - begun < 5
        assert (await raw.request("GET", PODS)).status == 200

    check(body, tmp_path)


def _listening() -> set[tuple[str, int]]:
    """The addresses, in hexadecimal, and ports at which this process listens."""
    inodes = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                address, _, port = words[1].partition(":")
                found.add((address, int(port, 16)))
    return found


def test_cve_2020_8558_and_2025_0426_nothing_of_a_cluster_is_reachable_from_other_hosts() -> None:
    """Neither services on the loopback interface nor a read-only port of the kubelet, whose checkpoints fill disks."""
    assert ClusterSettings().bind_address == "127.0.0.1"
    config = {"plugins": {"node": ["kubelet"], "runtime": "process", "network": "host", "proxy": "userspace"}}
    with Cluster(config=config, https=True, real_time=True) as cluster:
        spec = {"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}}
        made = cluster.create(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}
        )
        cluster.settle()
        found = _listening()
        assert found
        # 127.0.0.0/8, the bytes of the address in the machine's order.
        assert all(len(address) == 8 and address.endswith("7F") for address, _ in found), found
        # Nothing else listens: who asks for a checkpoint has to ask the API server, which wants to know who asks.
        api = int(load_kubeconfig(cluster.kubeconfig).url.rpartition(":")[2])
        assert {port for _, port in found} <= {api, 80, 443, made["spec"]["ports"][0]["nodePort"]}, found
        access = load_kubeconfig(cluster.kubeconfig)
        context = ssl.create_default_context(cadata=(access.ca or b"").decode())
        raw = socket.create_connection(("127.0.0.1", api))
        asked = b"POST /checkpoint/default/a/c HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        with context.wrap_socket(raw, server_hostname="localhost") as connection:
            connection.sendall(asked)
            assert answer(connection.makefile("rb"))[0] in (401, 403)


def test_cve_2021_25735_admission_of_a_node_sees_what_is_stored(cluster: Cluster) -> None:
    """A validating plugin must be shown the old node as it was, not as the request would have it."""
    seen: list[tuple[Any, ...]] = []
    hooks = cluster.kernel.hooks

    def look(request: Request) -> None:
        if request.type.plural == "nodes" and request.old is not None and request.obj is not None:
            told = tuple(one["metadata"].get("labels", {}).get("a") for one in (request.old, request.obj))
            if told[0] != told[1]:
                seen.append(told)

    hooks._validate = (*hooks._validate, look)
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"a": "stored"}}})
    cluster.patch("nodes", "n", {"metadata": {"labels": {"a": "patched"}}})
    node = json.loads(json.dumps(cluster.get("nodes", "n")))
    node["metadata"]["labels"]["a"] = "updated"
    cluster.update(node)
    assert seen == [("stored", "patched"), ("patched", "updated")]


def test_cve_2021_25741_a_link_in_a_volume_leads_nowhere_else(tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    volume.mkdir()
    outside.mkdir()
    (volume / "real").mkdir()
    (volume / "link").symlink_to(outside)
    (volume / "inner").symlink_to(volume / "real")
    for sub_path in ("link", "link/new", "link/../../outside"):
        with pytest.raises(ConfigProblem, match="leads out of the volume"):
            _below(str(volume), sub_path)
    assert not (outside / "new").exists()
    assert _below(str(volume), "inner") == str(volume / "real")
    assert _below(str(volume), "made/here") == str(volume / "made" / "here")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/configmaps/..%2Fsecrets%2Fs",
        "/api/v1/namespaces/default/configmaps/../secrets/s",
        "/api/v1/namespaces/default/configmaps/%2e%2e/secrets/s",
        "/api/v1/namespaces/default/configmaps//secrets/s",
        "/api/v1/namespaces/default%2Fsecrets/configmaps/s",
        "/api/v1/namespaces/../secrets",
    ],
)
def test_cve_2022_3162_a_path_reaches_no_other_type(tmp_path: Path, path: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aGlkZGVu"}}
        await raw.request("POST", "/api/v1/namespaces/default/secrets", secret)
        reached = await raw.request("GET", path)
        # A namespace may be asked for whatever its name; there is none of that name.
        assert reached.status in (400, 404) or reached.json["items"] == []
        assert b"aGlkZGVu" not in reached.body

    check(body, tmp_path)


def test_cve_2022_3294_the_address_in_a_nodes_status_is_not_dialled(served: Cluster) -> None:
    """Who may write nodes must not reach the API server's own network through the proxy to nodes."""
    trap = socket.create_server(("127.0.0.1", 0))
    trap.settimeout(0.2)
    port = trap.getsockname()[1]
    served.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "evil"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    served.patch("nodes", "evil", {"status": status}, subresource="status")
    for path in (f"/api/v1/nodes/evil:{port}/proxy/", "/api/v1/nodes/evil/proxy/pods"):
        connection, reader = talk(served, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.settimeout(5)
        with connection:
            status, body = answer(reader)
            assert (status, json.loads(body)["message"]) == (
                400,
                "nodes/proxy is not supported by this server",
            )
    with pytest.raises(TimeoutError), trap:
        trap.accept()


def _ephemeral(cluster: Cluster, **container: Any) -> None:
    added = {"name": "debug", "image": "x", "terminationMessagePolicy": "File", **container}
    patch = {"spec": {"ephemeralContainers": [added]}}
    cluster.patch("pods", "a", patch, type="strategic", subresource="ephemeralcontainers")


def test_cve_2023_2727_image_policy_looks_at_ephemeral_containers(tmp_path: Path) -> None:
    server = WebhookServer(tmp_path / "server")
    server.raw["/images"] = lambda asked: (
        200,
        json.dumps(
            {"status": {"allowed": all(one["image"] != "evil" for one in asked["spec"]["containers"])}}
        ).encode(),
    )
    try:
        policy = {"image_policy": {"kubeconfig": server.kubeconfig(tmp_path, "/images")}}
        plugins = {"admission": ["*", policy], "scheduler": None, "node": None}
        with Cluster(config={"plugins": plugins}, real_time=True) as cluster:
            cluster.create(pod("a"))
            with pytest.raises(Forbidden, match="images rejected by webhook backend"):
                _ephemeral(cluster, image="evil")
            _ephemeral(cluster)
    finally:
        server.stop()


@pytest.fixture
def strict(cluster: Cluster) -> Cluster:
    """With an account that allows one Secret."""
    marks = {"kubernetes.io/enforce-mountable-secrets": "true"}
    cluster.create(
        {
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "strict", "annotations": marks},
            "secrets": [{"name": "own"}],
        }
    )  # fmt: skip
    cluster.settle()
    return cluster


def test_cve_2023_2728_mountable_secrets_hold_for_ephemeral_containers(strict: Cluster) -> None:
    strict.create(pod("a", serviceAccountName="strict"))
    reads = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}]
    with pytest.raises(Forbidden) as refusal:
        _ephemeral(strict, env=reads)
    assert refusal.value.message == (
        'pods "a" is forbidden: ephemeral container debug with envVar E referencing secret.secretName="other" is not '
        "allowed because service account strict does not reference that secret"
    )


def test_cve_2024_3177_mountable_secrets_hold_for_env_from(strict: Cluster) -> None:
    def using(secret: str) -> Obj:
        containers = [{"name": "c", "image": "x", "envFrom": [{"secretRef": {"name": secret}}]}]
        return pod("a", serviceAccountName="strict", containers=containers)

    with pytest.raises(Forbidden) as refusal:
        strict.create(using("other"))
    assert refusal.value.message == (
        'pods "a" is forbidden: container c with envFrom referencing secret.secretName="other" is not allowed because '
        "service account strict does not reference that secret"
    )
    volume = {"name": "v", "secret": {"secretName": "other"}}
    with pytest.raises(Forbidden, match=r"volume with secret\.secretName"):
        strict.create(pod("b", serviceAccountName="strict", volumes=[volume]))
    strict.create(using("own"))


def test_cve_2024_10220_and_2025_1767_no_repository_is_cloned_for_a_volume() -> None:
    """gitRepo volumes ran what the repository's hooks said, and read other pods' local repositories."""
    config = {"plugins": {"node": ["kubelet"], "runtime": "simulated", "network": "host"}}
    with Cluster(config=config, real_time=True) as cluster:
        volume = {"name": "v", "gitRepo": {"repository": "/etc/other", "directory": "."}}
        cluster.create(pod("a", volumes=[volume]))

        def refused() -> bool:
            return any("gitRepo" in (one.get("message") or "") for one in cluster.list("events"))

        cluster.wait(refused)
        assert cluster.get("pods", "a")["status"]["phase"] == "Pending"


def test_cve_2025_5187_a_node_cannot_have_itself_deleted_by_an_owner() -> None:
    plugins = {"auth": ["node", "rbac"], "node": None, "scheduler": None}
    with Cluster(config={"plugins": plugins}) as cluster:
        cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "none-such"}
        node = cluster.client("system:node:n")
        with pytest.raises(Forbidden, match='node "n" is not allowed to modify ownerReferences'):
            cluster.run(node.patch("nodes", "n", {"metadata": {"ownerReferences": [owner]}}))
        with pytest.raises(Forbidden):
            cluster.run(node.delete("nodes", "n"))
        cluster.get("nodes", "n")
