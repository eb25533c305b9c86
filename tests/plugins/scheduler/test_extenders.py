"""HTTP extenders of a KubeSchedulerConfiguration: real servers on loopback, asked by a whole cluster's scheduler."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tls_kit import server_context
from workload_kit import events, pod

from kubernel.objects import conditions
from kubernel.testing import Cluster

Obj = dict[str, Any]
GPU = "example.com/gpu"


class Server:
    """Answers each verb with what its function gives for the question; without one with 500."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.verbs: dict[str, Callable[[Obj], Any]] = {}
        self.asked: list[tuple[str, Obj]] = []
        kit = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                verb = self.path.rpartition("/")[2]
                kit.asked.append((verb, question))
                answer = kit.verbs.get(verb)
                body = json.dumps(answer(question)).encode() if answer else b"no"
                self.send_response(200 if answer else 500)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/scheduler"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def questions(self, verb: str) -> list[Obj]:
        return [question for each, question in self.asked if each == verb]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def start(cluster_factory: Callable[..., Cluster]) -> Callable[..., Cluster]:
    def begin(*extenders: Obj, cpu: str = "4") -> Cluster:
        configuration = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
        plugins = {
            "node": [{"simulated": {"nodes": 3, "cpu": cpu}}],
            "controller": ["bootstrap", "namespace", "serviceaccount"],
            "admission": ["*", "-taint_nodes"],
            "scheduler": [{"default": {"configuration": {**configuration, "extenders": list(extenders)}}}],
        }
        return cluster_factory(config={"plugins": plugins}, real_time=True)

    return begin


def node_of(cluster: Cluster, name: str) -> str:
    cluster.wait(lambda: bool(where(cluster, name)))
    return where(cluster, name)


def where(cluster: Cluster, name: str) -> str:
    return str(cluster.get("pods", name)["spec"].get("nodeName", ""))


def said(cluster: Cluster, name: str) -> Obj:
    def found() -> Obj:
        return dict(conditions.find(cluster.get("pods", name), "PodScheduled") or {})

    cluster.wait(lambda: bool(found()))
    return found()


def only(*names: str, **why: str) -> Callable[[Obj], Obj]:
    def answer(question: Obj) -> Obj:
        if question["NodeNames"] is not None:
            return {"nodenames": [each for each in question["NodeNames"] if each in names], **why}
        items = [each for each in question["Nodes"]["items"] if each["metadata"]["name"] in names]
        return {"nodes": {"items": items}, **why}

    return answer


@pytest.mark.parametrize("by_name", [False, True], ids=["nodes", "names"])
def test_an_extender_filters_nodes(start: Callable[..., Cluster], server: Server, by_name: bool) -> None:
    server.verbs["filter"] = only("node-2")
    cluster = start({"urlPrefix": server.url, "filterVerb": "filter", "nodeCacheCapable": by_name})
    cluster.create(pod("a"))
    assert node_of(cluster, "a") == "node-2"
    (question,) = server.questions("filter")
    assert question["Pod"]["metadata"]["name"] == "a"
    assert (question["NodeNames"] is None) is not by_name
    assert (question["Nodes"] is None) is by_name


def test_what_an_extender_says_against_nodes_is_told(start: Callable[..., Cluster], server: Server) -> None:
    server.verbs["filter"] = lambda question: {
        "nodenames": [],
        "failedNodes": {"node-1": "too hot", "node-2": "too hot"},
        "failedAndUnresolvableNodes": {"node-3": "on fire"},
    }
    cluster = start({"urlPrefix": server.url, "filterVerb": "filter", "nodeCacheCapable": True})
    cluster.create(pod("a"))
    found = said(cluster, "a")
    assert found["reason"] == "Unschedulable"
    assert found["message"].startswith("0/3 nodes are available: 1 on fire, 2 too hot. preemption: ")
    assert "1 Preemption is not helpful for scheduling" in found["message"]


def test_an_extender_adds_to_scores(start: Callable[..., Cluster], server: Server) -> None:
    server.verbs["score"] = lambda question: [
        {"Host": name, "Score": 10 if name == "node-3" else 0} for name in question["NodeNames"]
    ]
    extender = {
        "urlPrefix": server.url,
        "prioritizeVerb": "score",
        "weight": 100,
        "nodeCacheCapable": True,
    }
    cluster = start(extender)
    for number in range(4):
        cluster.create(pod(f"p{number}"))
    assert {node_of(cluster, f"p{number}") for number in range(4)} == {"node-3"}


def test_scores_that_cannot_be_had_are_left_out(start: Callable[..., Cluster], server: Server) -> None:
    cluster = start({"urlPrefix": server.url, "prioritizeVerb": "score", "weight": 1})
    cluster.create(pod("a"))
    assert node_of(cluster, "a")


def test_an_extender_binds(start: Callable[..., Cluster], server: Server) -> None:
    server.verbs["bind"] = lambda question: {"Error": ""}
    cluster = start({"urlPrefix": server.url, "bindVerb": "bind"})
    made = cluster.create(pod("a"))
    cluster.wait(lambda: bool(server.questions("bind")))
    question = server.questions("bind")[0]
    assert question.pop("Node").startswith("node-")
    assert question == {"PodName": "a", "PodNamespace": "default", "PodUID": made["metadata"]["uid"]}


def test_a_binding_that_an_extender_refuses_is_an_error(
    start: Callable[..., Cluster], server: Server
) -> None:
    server.verbs["bind"] = lambda question: {"Error": "not today"}
    cluster = start({"urlPrefix": server.url, "bindVerb": "bind"})
    cluster.create(pod("a"))
    assert said(cluster, "a")["reason"] == "SchedulerError"
    assert said(cluster, "a")["message"] == "not today"


def test_an_extender_that_is_away_stops_its_pods(start: Callable[..., Cluster], server: Server) -> None:
    cluster = start({"urlPrefix": server.url, "filterVerb": "filter"})
    cluster.create(pod("a"))
    found = said(cluster, "a")
    assert (found["reason"], found["message"]) == (
        "SchedulerError",
        f"failed filter with extender at URL {server.url}/filter, code 500",
    )
    cluster.wait(lambda: bool(events(cluster, "FailedScheduling")))
    server.verbs["filter"] = only("node-1")
    assert node_of(cluster, "a") == "node-1"


def test_an_ignorable_extender_that_is_away_is_left_out(
    start: Callable[..., Cluster], server: Server
) -> None:
    cluster = start({"urlPrefix": server.url, "filterVerb": "filter", "ignorable": True})
    cluster.create(pod("a"))
    assert node_of(cluster, "a")


def test_an_extender_of_a_resource_is_asked_for_its_pods_alone(
    start: Callable[..., Cluster], server: Server
) -> None:
    server.verbs["filter"] = only("node-3")
    cluster = start(
        {
            "urlPrefix": server.url,
            "filterVerb": "filter",
            "managedResources": [{"name": GPU, "ignoredByScheduler": True}],
        }
    )
    cluster.create(pod("plain"))
    assert node_of(cluster, "plain")
    assert server.asked == []
    # No node has the resource: nobody but the extender looks at it.
    amounts = {"limits": {GPU: "1"}, "requests": {GPU: "1"}}
    cluster.create(pod("gpu", containers=[{"name": "c", "image": "i", "resources": amounts}]))
    assert node_of(cluster, "gpu") == "node-3"


@pytest.mark.parametrize("whole", [False, True], ids=["uids", "pods"])
def test_an_extender_has_a_word_in_preemption(
    start: Callable[..., Cluster], server: Server, whole: bool
) -> None:
    server.verbs["preempt"] = lambda question: {
        "NodeNameToMetaVictims": {
            node: {"Pods": [{"UID": each.get("UID") or each["metadata"]["uid"]} for each in its["Pods"]]}
            for node, its in (
                question["NodeNameToVictims"] if whole else question["NodeNameToMetaVictims"]
            ).items()
            if node == "node-2"
        }
    }
    cluster = start(
        {"urlPrefix": server.url, "preemptVerb": "preempt", "nodeCacheCapable": not whole}, cpu="1"
    )
    cluster.create(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 10,
        }
    )
    large = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "800m"}}}]
    for number in range(3):
        cluster.create(pod(f"low{number}", containers=large))
    assert {node_of(cluster, f"low{number}") for number in range(3)} == {"node-1", "node-2", "node-3"}
    cluster.create(pod("high", containers=large, priorityClassName="high"))
    assert node_of(cluster, "high") == "node-2"


@pytest.mark.parametrize("trusted", [True, False], ids=["its authority", "any"])
def test_an_extender_over_tls(
    cluster_factory: Callable[..., Cluster], start: Callable[..., Cluster], tmp_path: Path, trusted: bool
) -> None:
    context, ca = server_context(tmp_path, "extender", "extender.example.com")
    server = Server(context)
    try:
        server.verbs["filter"] = only("node-2")
        tls: Obj = {"insecure": True}
        if trusted:
            tls = {"caData": ca, "serverName": "extender.example.com"}
        extender = {"urlPrefix": server.url, "filterVerb": "filter", "enableHTTPS": True, "tlsConfig": tls}
        cluster = start(extender)
        cluster.create(pod("a"))
        assert node_of(cluster, "a") == "node-2"
    finally:
        server.close()
