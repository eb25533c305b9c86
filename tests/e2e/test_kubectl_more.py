"""The rest of what kubectl can do: the commands, flags and refusals that a user meets less often."""

from __future__ import annotations

import http.client
import json
import re
import socket
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

CLIENT = "kubectl 1.37"
pytestmark = pytest.mark.kubectl

ECHO = textwrap.dedent(
    """
    import http.server, os, socketserver, threading
    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = f"{self.command} {self.path} {self.rfile.read(length).decode()}".encode()
            self.send_response(200)
            self.send_header("X-From", "pod")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET
        def log_message(self, *args): pass
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(65536):
                self.request.sendall(data)
    address = os.environ["IP"]
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    echo = socketserver.ThreadingTCPServer((address, 7007), Echo)
    threading.Thread(target=echo.serve_forever, daemon=True).start()
    http.server.ThreadingHTTPServer((address, 8080), Web).serve_forever()
    """
)


@pytest.fixture
def server(kubectl: Any) -> Any:
    """kubectl with a running pod ``server`` and its service: port 7007 echoes, 8080 answers HTTP."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "server", "labels": {"app": "server"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": "x",
                    "command": ["python3", "-uc", ECHO],
                    "ports": [{"containerPort": 8080, "name": "web"}],
                    "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                }
            ],
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=30s")
    kubectl("expose", "pod", "server", "--port=80", "--target-port=web")
    return kubectl


@contextmanager
def running(kubectl: Any, *args: str) -> Iterator[tuple[Any, re.Match[str]]]:
    """A kubectl that listens; its process and what its first line said of the port."""
    process = kubectl.start(*args)
    try:
        line = process.stdout.readline()
        found = re.search(r"(?:127\.0\.0\.1|localhost):(\d+)", line)
        assert found, line
        yield process, found
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_port_forward_carries_many_connections_and_bytes(server: Any) -> None:
    with running(server, "port-forward", "pod/server", ":7007") as (_, found):
        sent = bytes(range(256)) * 8192
        answers: dict[int, bytes] = {}

        def talk(number: int) -> None:
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=20) as connection:
                writer = threading.Thread(
                    target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR))
                )
                writer.start()
                answers[number] = b"".join(iter(lambda: connection.recv(65536), b""))
                writer.join()

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [answers[number] == sent for number in range(4)] == [True] * 4


def test_port_forward_to_a_port_where_nobody_listens_says_so(server: Any) -> None:
    with running(server, "port-forward", "service/server", ":80") as (process, found):
        assert int(found[1])
    with running(server, "port-forward", "pod/server", ":9") as (process, found):
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as connection:
            assert connection.recv(1) == b""
        text = process.stdout.read()
        assert "error forwarding port 9 to pod server" in text
        assert "Connection refused" in text


def test_the_proxies_reach_pods_and_services(server: Any) -> None:
    namespace = server.json("get", "pod", "server")["metadata"]["namespace"]
    base = f"/api/v1/namespaces/{namespace}"
    for name in (
        "pods/server",
        "pods/server:8080",
        "pods/http:server:8080",
        "services/server",
        "services/server:80",
    ):
        assert server("get", "--raw", f"{base}/{name}/proxy/a%20b/?x=1&y=2") == "GET /a%20b/?x=1&y=2 "
    refused = server.refused("get", "--raw", f"{base}/services/server:81/proxy/")
    assert 'no service port 81 found for service "server"' in refused
    assert "error trying to reach service" in server.refused("get", "--raw", f"{base}/pods/server:9/proxy/")
    assert "NotFound" in server.refused("get", "--raw", f"{base}/pods/nobody/proxy/")
    assert 'invalid pod request "a:b:c:d"' in server.refused("get", "--raw", f"{base}/pods/a:b:c:d/proxy/")


def test_kubectl_proxy_passes_every_verb(server: Any) -> None:
    namespace = server.json("get", "pod", "server")["metadata"]["namespace"]
    with (
        running(server, "proxy", "--port=0") as (_, found),
        closing(http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)) as connection,
    ):
        base = f"/api/v1/namespaces/{namespace}/pods/server/proxy"

        def ask(method: str, path: str, body: str | None = None) -> tuple[int, str, Any]:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

        assert json.loads(ask("GET", "/version")[1])["major"] == "1"
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert ask(method, f"{base}/x", "hello")[:2] == (200, f"{method} /x hello")
        status, body, headers = ask("HEAD", f"{base}/x")
        assert (status, body, headers["X-From"]) == (200, "", "pod")
        status, _, headers = ask("GET", f"{base}?a=b")
        assert (status, headers["Location"]) == (301, f"{base}/?a=b")
        assert ask("POST", base)[1] == "POST / "


def test_an_unknown_kind_is_told_like_upstream(kubectl: Any) -> None:
    body = "apiVersion: example.com/v1\nkind: Nonsense\nmetadata: {name: a}\n"
    refusal = kubectl.refused("apply", "-f", "-", stdin=body)
    assert 'no matches for kind "Nonsense" in version "example.com/v1"' in refusal
    assert "ensure CRDs are installed first" in refusal
    assert "FIELD:    hostname <string>" in kubectl(
        "explain", "pod.spec.hostname", "--output=plaintext-openapiv2"
    )


SLEEPER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - {name: main, image: x, command: [sh, -c, 'echo one; exec sleep 1000']}
        - {name: side, image: x, command: [sh, -c, 'echo two; exec sleep 1000']}
"""


@pytest.fixture
def web(kubectl: Any) -> Any:
    kubectl("apply", "-f", "-", stdin=SLEEPER)
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    return kubectl


def test_get_in_every_form(web: Any) -> None:
    assert web("get", "pods", "--show-labels").splitlines()[0].split()[-1] == "LABELS"
    assert web("get", "pods", "-L", "app,tier").splitlines()[0].split()[-2:] == ["APP", "TIER"]
    assert web("get", "pods", "-o", "custom-columns=I:.spec.containers[*].name").split() == ["I", "main,side"]
    assert web("get", "deploy", "-o", "go-template={{range .items}}{{.metadata.name}};{{end}}") == "web;"
    assert (
        web("get", "pods", "--chunk-size=1", "--sort-by=.metadata.name", "--no-headers").split()[1] == "2/2"
    )
    assert web("get", "pod", "nobody", "--ignore-not-found") == ""
    assert web("get", "deploy", "web", "--subresource=scale").splitlines()[0].split() == [
        "NAME", "DESIRED", "AVAILABLE", "AGE",
    ]  # fmt: skip
    assert web("get", "deploy", "web", "--subresource=scale").splitlines()[1].split()[:3] == ["web", "1", "1"]
    assert web("get", "deploy", "web", "--subresource=status").splitlines()[1].split()[:2] == ["web", "1/1"]
    assert 'the server doesn\'t have a resource type "bogus"' in web.refused("get", "bogus")
    refusal = web.refused("get", "--raw", "/api/v1/pods?fieldSelector=bogus%3D1")
    assert "(BadRequest): field label not supported: bogus" in refusal
    done = web.run("get", "endpoints")
    assert (
        "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" in done.stderr
    )


def test_logs_of_several_containers_and_pods(web: Any) -> None:
    pod = web("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    assert web("logs", pod, "-c", "side") == "two\n"
    lines = set(web("logs", "-l", "app=web", "--all-containers", "--prefix").splitlines())
    assert lines == {f"[pod/{pod}/main] one", f"[pod/{pod}/side] two"}
    assert web("logs", "deployment/web") == "one\n"
    assert web("logs", pod, "--since=1h", "--timestamps").endswith("Z one\n")
    assert 'previous terminated container "main"' in web.refused("logs", pod, "--previous")
    assert "container nope is not valid for pod" in web.refused("logs", pod, "-c", "nope")


def test_exec_tells_a_missing_program_and_cp_copies_both_ways(web: Any, tmp_path: Any) -> None:
    pod = web("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    refusal = web.refused("exec", pod, "-c", "main", "--", "no-such-program")
    assert "error executing command in container" in refusal
    assert "no-such-program" in refusal
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("content")
    web("cp", str(tmp_path / "a"), f"{pod}:{tmp_path}/b", "-c", "main")
    web("cp", f"{pod}:{tmp_path}/b/file", str(tmp_path / "c"), "-c", "side")
    assert (tmp_path / "c").read_text() == "content"
    # kubectl cp may end at the empty archive's last block, before it has printed what tar said.
    web.run("cp", f"{pod}:{tmp_path}/nothing", str(tmp_path / "d"))
    assert not (tmp_path / "d").exists()
    said = web.refused("exec", pod, "-c", "main", "--", "tar", "cf", "-", f"{tmp_path}/nothing")
    assert "No such file" in said
    assert "command terminated with exit code 2" in said


def test_run_attaches_and_gives_the_pods_exit_code(kubectl: Any) -> None:
    attached = ("--image=x", "--rm", "-i", "--restart=Never", "--command", "--")
    assert "hello\n" in kubectl("run", "cat", *attached, "cat", stdin="hello\n")
    done = kubectl.run("run", "failing", *attached, "sh", "-c", "sleep 0.3; echo said; exit 3")
    assert done.returncode == 3
    assert done.stdout.count("said\n") == 1
    assert "terminated (Error)" in done.stderr


def test_scaling_with_preconditions_and_pausing(web: Any) -> None:
    assert "Expected replicas to be 5, was 1" in web.refused(
        "scale", "deploy/web", "--replicas=2", "--current-replicas=5"
    )
    assert "Expected resource version" in web.refused(
        "scale", "deploy/web", "--replicas=2", "--resource-version=1"
    )
    web("scale", "deploy/web", "--replicas=2", "--current-replicas=1")
    web("rollout", "pause", "deploy/web")
    web("set", "image", "deploy/web", "main=y")
    assert "timed out" in web.refused("rollout", "status", "deploy/web", "--timeout=1s")
    web("rollout", "resume", "deploy/web")
    assert "is not paused" in web.refused("rollout", "resume", "deploy/web")
    web("rollout", "status", "deploy/web", "--timeout=30s")
    assert "Image:\ty" in web("rollout", "history", "deploy/web", "--revision=2")
    assert "unable to find specified revision 77" in web.refused(
        "rollout", "undo", "deploy/web", "--to-revision=77"
    )


def test_patches_of_subresources_and_what_changes_nothing(web: Any) -> None:
    scale = ("--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":2}}')
    assert "scale.autoscaling/web patched" in web("patch", "deploy", "web", *scale)
    # kubectl calls a write of the controller between its read and its patch a change.
    web("rollout", "status", "deploy/web", "--timeout=60s")
    assert "(no change)" in web("patch", "deploy", "web", "-p", '{"spec":{"replicas":2}}')
    done = web.run("patch", "deploy", "web", "-p", '{"spec":{"bogus":1}}')
    assert 'Warning: unknown field "spec.bogus"' in done.stderr
    test = '[{"op":"test","path":"/spec/replicas","value":5}]'
    assert "The request is invalid" in web.refused("patch", "deploy", "web", "--type=json", "-p", test)
    web("label", "deploy", "web", "tier=a")
    assert "--overwrite is false" in web.refused("label", "deploy", "web", "tier=b")
    web("label", "deploy", "web", "tier=b", "--overwrite")
    assert "name part must consist of" in web.refused("label", "deploy", "web", "a b=c")
    edit = {"KUBE_EDITOR": "sed -i s/observedGeneration:.*/observedGeneration:\\ 99/"}
    assert "edited" in web("edit", "deploy", "web", "--subresource=status", **edit)


def test_wait_for_everything(web: Any) -> None:
    web("wait", "--for=delete", "pod/nobody", "--timeout=2s")
    assert "timed out" in web.refused("wait", "--for=create", "pod/nobody", "--timeout=1s")
    web("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    web("wait", "--for=jsonpath={.status.readyReplicas}=1", "deploy/web", "--timeout=10s")
    waiting = web.start("wait", "--for=create", "configmap/late", "--timeout=20s")
    web("create", "configmap", "late")
    assert "configmap/late condition met" in waiting.communicate(timeout=25)[0]


CREATED = [
    ("clusterrole", "{}-cr", "--verb=get", "--resource=pods,deployments.apps"),
    ("clusterrole", "{}-urls", "--verb=get", "--non-resource-url=/logs"),
    ("clusterrolebinding", "{}-crb", "--clusterrole=view", "--serviceaccount=default:default"),
    ("configmap", "c", "--from-literal=a=b"),
    ("cronjob", "cj", "--image=x", "--schedule=0 0 1 1 *", "--", "true"),
    ("deployment", "d", "--image=x", "--port=80", "--", "sleep", "9"),
    ("ingress", "i", "--rule=foo.com/bar=svc:80,tls=cert", "--class=k"),
    ("job", "j", "--from=cronjob/cj"),
    ("poddisruptionbudget", "p", "--selector=app=x", "--min-available=1"),
    ("priorityclass", "{}-pc", "--value=1000"),
    ("quota", "q", "--hard=pods=50"),
    ("role", "r", "--verb=get", "--resource=pods", "--resource-name=a"),
    ("rolebinding", "rb", "--role=r", "--user=bob"),
    ("secret", "docker-registry", "s2", "--docker-server=a", "--docker-username=b", "--docker-password=c"),
    ("service", "clusterip", "s", "--tcp=80:8080"),
    ("service", "nodeport", "np", "--tcp=80:8080"),
    ("service", "loadbalancer", "lb", "--tcp=80:8080"),
    ("service", "externalname", "en", "--external-name=a.com"),
    ("serviceaccount", "sa"),
]


def test_create_of_every_kind_and_describe_of_it(kubectl: Any) -> None:
    own = kubectl("config", "view", "--minify", "-o", "jsonpath={..namespace}")
    made = [
        kubectl("create", "-o", "name", *(word.format(own) for word in words)).strip() for words in CREATED
    ]
    described = kubectl("describe", *made)
    for name in made:
        assert re.search(rf"^Name: +{re.escape(name.partition('/')[2])}$", described, re.MULTILINE), name
    assert kubectl("create", "token", "sa", "--duration=10m").count(".") == 2
    bad = kubectl.refused("create", "cronjob", "bad", "--image=x", "--schedule=bad")
    assert 'spec.schedule: Invalid value: "bad": expected exactly 5 fields, found 1: [bad]' in bad
    assert "AlreadyExists" in kubectl.refused("create", "role", "r", "--verb=get", "--resource=pods")
    cluster_wide = [name for name in made if name.partition(".")[0] in ("clusterrole", "clusterrolebinding")]
    kubectl("delete", *cluster_wide, f"priorityclass.scheduling.k8s.io/{own}-pc")


def test_delete_in_every_way(web: Any) -> None:
    stubborn = 'trap "" TERM; while :; do sleep 0.2; done'
    web("run", "stubborn", "--image=x", "--command", "--", "sh", "-c", stubborn)
    web("wait", "--for=condition=Ready", "pod/stubborn", "--timeout=20s")
    assert "force deleted" in web("delete", "pod", "stubborn", "--grace-period=0", "--force")
    web("run", "quick", "--image=x", "--command", "--", "sleep", "1000")
    web("delete", "pod", "quick", "--now", timeout=20)
    assert "No resources found" in web.run("delete", "pod", "-l", "run=nobody").stdout
    assert web("delete", "pod", "nobody", "--ignore-not-found") == ""
    web("delete", "deploy", "web", "--cascade=orphan")
    assert "web-" in web("get", "rs", "-o", "name")
    web("delete", "rs", "--all", "--cascade=foreground", timeout=30)
    web.until(lambda: not web.json("get", "pods", "-l", "app=web")["items"], "the pods' end")
    assert "this namespace may not be deleted" in web.refused("delete", "ns", "default")


def test_nodes_are_tainted_cordoned_and_drained_dryly(web: Any) -> None:
    node = web("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    web("taint", "node", node, "e2e=more:PreferNoSchedule")
    assert "--overwrite is false" in web.refused("taint", "node", node, "e2e=x:PreferNoSchedule")
    web("taint", "node", node, "e2e-")
    drained = web("drain", node, "--dry-run=server", "--force", "--ignore-daemonsets")
    assert "evicting pod" in drained or "evicted (server dry run)" in drained
    assert "SchedulingDisabled" not in web("get", "nodes")


def test_a_drain_waits_for_the_disruption_budget(web: Any) -> None:
    node = web("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    drain = ("drain", node, "--pod-selector=app=web", "--ignore-daemonsets", "--delete-emptydir-data")
    replicas = web.json("get", "deploy", "web")["spec"]["replicas"]
    web("create", "pdb", "web", "--selector=app=web", f"--min-available={replicas}")
    allowed = ("get", "pdb", "web", "-o", "jsonpath={.status.expectedPods} {.status.disruptionsAllowed}")
    web.until(lambda: web(*allowed) == f"{replicas} 0", "the budget's status")
    before = {pod["metadata"]["name"] for pod in web.json("get", "pods", "-l", "app=web")["items"]}
    told = web.refused(*drain, "--timeout=3s")
    assert "Cannot evict pod as it would violate the pod's disruption budget." in told
    assert "SchedulingDisabled" in web("get", "nodes")
    assert before <= {pod["metadata"]["name"] for pod in web.json("get", "pods", "-l", "app=web")["items"]}
    web("delete", "pdb", "web")
    assert f"node/{node} drained" in web(*drain, "--timeout=60s", timeout=70)
    left = {pod["metadata"]["name"] for pod in web.json("get", "pods", "-l", "app=web")["items"]}
    assert not before & left
    web("uncordon", node)
    web("rollout", "status", "deploy/web", "--timeout=60s", timeout=70)


def test_debug_adds_an_ephemeral_container_or_copies_the_pod(web: Any) -> None:
    pod = web("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    web("debug", pod, "--image=x", "--container=look", "--", "sh", "-c", "echo looked; sleep 1000")
    web.until(lambda: web.run("logs", pod, "-c", "look").stdout == "looked\n", "the container's log")
    assert web("exec", pod, "-c", "look", "--", "echo", "in") == "in\n"
    web("debug", pod, "--copy-to=copy", "--image=x", "--container=look", "--", "sleep", "1000")
    web("wait", "--for=condition=Ready", "pod/copy", "--timeout=20s")


def test_rights_are_reconciled_listed_and_told(kubectl: Any) -> None:
    own = kubectl("config", "view", "--minify", "-o", "jsonpath={..namespace}")
    body = "\n".join(
        (
            "apiVersion: rbac.authorization.k8s.io/v1",
            "kind: Role",
            f"metadata: {{name: reader, namespace: {own}}}",
            "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]",
        )
    )
    told = [kubectl.run("auth", "reconcile", "-f", "-", stdin=body) for _ in range(2)]
    assert ["reconciliation required create" in done.stdout + done.stderr for done in told] == [True, False]
    assert "selfsubjectaccessreviews.authorization.k8s.io" in kubectl("auth", "can-i", "--list", "--as=bob")
    assert "X509SHA256=" in kubectl("auth", "whoami")
    assert kubectl("auth", "whoami", "--as=bob", "--as-group=x").splitlines()[-1].split() == [
        "Groups", "[x", "system:authenticated]",
    ]  # fmt: skip


def test_kustomize_replace_and_last_applied(kubectl: Any, tmp_path: Any) -> None:
    (tmp_path / "web.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n")
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [web.yaml]\nnamePrefix: kz-\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n"
    )
    assert "configmap/kz-c created" in kubectl("apply", "-k", str(tmp_path))
    assert "a: b" in kubectl("apply", "view-last-applied", "cm", "kz-c")
    kubectl("delete", "-k", str(tmp_path))
    body = str(tmp_path / "web.yaml")
    assert "NotFound" in kubectl.refused("replace", "-f", body)
    kubectl("create", "-f", body)
    before = kubectl.json("get", "cm", "c")["metadata"]["uid"]
    assert "replaced" in kubectl("replace", "-f", body)
    assert "replaced" in kubectl("replace", "--force", "-f", body)
    assert kubectl.json("get", "cm", "c")["metadata"]["uid"] != before
    old = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, resourceVersion: '1'}\n"
    assert "the object has been modified" in kubectl.refused("replace", "-f", "-", stdin=old)


def test_events_and_watches_of_one_object(web: Any) -> None:
    assert "ScalingReplicaSet" in web("events", "--for", "deploy/web")
    watch = web.start("get", "pods", "-w", "--output-watch-events", "--no-headers")
    try:
        assert watch.stdout.readline().split()[:1] == ["ADDED"]
        web("delete", "pod", "--all", "--now")
        seen = []
        while "DELETED" not in seen:
            seen.append(watch.stdout.readline().split()[0])
    finally:
        watch.terminate()
        watch.communicate(timeout=10)
    pods = [name for name in web("events", "--types=Normal").split() if name.startswith("Pod/web-")]
    assert pods


def test_changes_that_are_refused_say_why(kubectl: Any) -> None:
    kubectl("create", "service", "clusterip", "s", "--tcp=80:8080")
    refusal = kubectl.refused("patch", "service", "s", "-p", '{"spec":{"clusterIP":"10.96.9.9"}}')
    assert 'spec.clusterIPs[0]: Invalid value: ["10.96.9.9"]: may not change once set' in refusal
    bad = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 0}], type: Foo}\n"
    refusal = kubectl.refused("apply", "-f", "-", stdin=bad)
    assert "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive" in refusal
    assert "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive" in refusal
    kubectl("create", "configmap", "fixed", "--from-literal=a=b")
    kubectl("patch", "configmap", "fixed", "-p", '{"immutable":true}')
    refusal = kubectl.refused("patch", "configmap", "fixed", "-p", '{"data":{"a":"c"}}')
    assert "data: Forbidden: field is immutable when `immutable` is set" in refusal
    address = json.loads(kubectl("get", "--raw", "/api"))["serverAddressByClientCIDRs"][0]["serverAddress"]
    server = kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    assert server == f"https://{address}"


def test_top_shows_what_a_pod_really_uses(kubectl: Any) -> None:
    busy = "import hashlib\nwhile True: hashlib.sha256(bytes(1000000))"
    kubectl("run", "busy", "--image=x", "--restart=Never", "--command", "--", "python3", "-c", busy)

    def used() -> list[str]:
        done = kubectl.run("top", "pod", "busy", "--containers", "--no-headers")
        return done.stdout.split() if done.returncode == 0 else []

    pod, container, cpu, memory = kubectl.until(used, "a second sample")
    assert (pod, container) == ("busy", "busy")
    assert int(cpu.removesuffix("m")) > 100
    assert int(memory.removesuffix("Mi")) >= 1
    kubectl("delete", "pod", "busy", "--now")
    assert re.search(r"\d+m +\d+% +\d+Mi +\d+%", kubectl("top", "nodes"))


def test_a_claim_of_the_default_class_keeps_what_pods_write(kubectl: Any) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }

    def pod(name: str, command: str) -> dict[str, Any]:
        mount = {"name": "data", "mountPath": f"/tmp/kubernel-e2e-{name}"}
        container = {"name": "main", "image": "x", "volumeMounts": [mount]}
        container["command"] = ["sh", "-c", command.replace("DATA", str(mount["mountPath"]))]
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        spec = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}

    kubectl("apply", "-f", "-", stdin=json.dumps(claim))
    kubectl("apply", "-f", "-", stdin=json.dumps(pod("writer", "echo kept > DATA/file")))
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/writer", "--timeout=30s")
    assert re.search(r"Bound +pvc-\S+ +1Gi +RWO +standard", kubectl("get", "pvc", "data"))
    kubectl("delete", "pod", "writer", "--now")
    kubectl("apply", "-f", "-", stdin=json.dumps(pod("reader", "cat DATA/file")))
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/reader", "--timeout=30s")
    assert kubectl("logs", "reader") == "kept\n"
    kubectl("delete", "pod", "reader", "--now")
    kubectl("delete", "pvc", "data", "--timeout=30s")


def test_a_certificate_is_asked_for_approved_and_usable(kubectl: Any, tmp_path: Any) -> None:
    from base64 import b64decode, b64encode

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    request = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "jane"},
        "spec": {
            "request": b64encode(made.public_bytes(serialization.Encoding.PEM)).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(request))
    kubectl("certificate", "approve", "jane")
    encoded = kubectl.until(
        lambda: kubectl("get", "csr", "jane", "-o", "jsonpath={.status.certificate}"), "a signature"
    )
    (tmp_path / "jane.crt").write_bytes(b64decode(encoded))
    (tmp_path / "jane.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    told = kubectl(
        "auth",
        "whoami",
        f"--client-certificate={tmp_path / 'jane.crt'}",
        f"--client-key={tmp_path / 'jane.key'}",
        "-o",
        "jsonpath={.status.userInfo.username}",
    )
    assert told == "jane"
    kubectl("delete", "csr", "jane")
