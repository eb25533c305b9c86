"""What a user does with the real kubectl, unmodified."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

CLIENT = "kubectl 1.37"
pytestmark = pytest.mark.kubectl

SHOP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, file.txt: "line one"}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {word: swordfish}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: shop:1
          command: [sh, -c, 'echo "colour $COLOUR of $POD_NAME"; trap "exit 0" TERM; while :; do sleep 0.1; done']
          env:
            - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
            - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          resources: {requests: {cpu: 10m, memory: 1Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: stocktaking}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: main, image: shop:1, command: [sh, -c, 'echo counted; exit 0']}
---
apiVersion: v1
kind: Pod
metadata: {name: till}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers:
    - {name: main, image: shop:1, command: [sh, -c, 'echo open; sleep 1000']}
"""


@pytest.fixture
def shop(kubectl: Any) -> Any:
    kubectl("apply", "-f", "-", stdin=SHOP)
    kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    return kubectl


def test_a_file_of_many_documents_runs(shop: Any) -> None:
    shop("wait", "--for=condition=Ready", "pod/till", "--timeout=30s")
    shop("wait", "--for=condition=complete", "job/stocktaking", "--timeout=30s")
    assert shop("logs", "job/stocktaking") == "counted\n"
    pods = shop.json("get", "pods", "-l", "app=shop")["items"]
    assert len(pods) == 3
    assert len({pod["status"]["podIP"] for pod in pods}) == 3
    for pod in pods:
        assert shop("logs", pod["metadata"]["name"]) == f"colour blue of {pod['metadata']['name']}\n"
    slices = shop.json("get", "endpointslices", "-l", "kubernetes.io/service-name=shop")["items"]
    addresses = {address for entry in slices[0]["endpoints"] for address in entry["addresses"]}
    assert addresses == {pod["status"]["podIP"] for pod in pods}


def test_applying_the_same_file_again_changes_nothing(shop: Any) -> None:
    before = shop.json("get", "deployment", "shop")["metadata"]["resourceVersion"]
    out = shop("apply", "-f", "-", stdin=SHOP)
    assert "deployment.apps/shop unchanged" in out
    assert shop.json("get", "deployment", "shop")["metadata"]["resourceVersion"] == before


def test_server_side_apply_and_its_conflicts(kubectl: Any) -> None:
    body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n"
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=body)
    other = body.replace("'1'", "'2'")
    refusal = kubectl.refused("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.x' in refusal
    kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=other)
    assert kubectl("get", "cm", "a", "-o", "jsonpath={.data.x}") == "2"


def test_get_prints_tables_and_every_output(shop: Any) -> None:
    table = shop("get", "deployments").splitlines()
    assert table[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert table[1].split()[:4] == ["shop", "3/3", "3", "3"]
    wide = shop("get", "pods", "-o", "wide").splitlines()[0].split()
    assert wide[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert "kind: ConfigMap" in shop("get", "cm", "settings", "-o", "yaml")
    assert shop.json("get", "secret", "password")["data"] == {"word": "c3dvcmRmaXNo"}
    assert shop("get", "pods", "-l", "app=shop", "-o", "name").count("pod/") == 3
    assert shop("get", "pods", "--field-selector", "metadata.name=till", "-o", "name") == "pod/till\n"
    assert shop("get", "pods", "-l", "app in (shop),app!=x", "-o", "name").count("pod/") == 3
    assert "kube-system" in shop("get", "namespaces")
    assert "shop" in shop("get", "all", "-A")


def test_a_watch_tells_changes_as_they_happen(kubectl: Any) -> None:
    kubectl("create", "configmap", "a", "--from-literal=x=1")
    watch = kubectl.start("get", "cm", "a", "-w", "-o", "jsonpath={.data.x}{'\\n'}")
    try:
        assert watch.stdout.readline() == "1\n"
        kubectl("patch", "cm", "a", "-p", '{"data":{"x":"2"}}')
        assert watch.stdout.readline() == "2\n"
    finally:
        watch.terminate()
        watch.communicate(timeout=10)


def test_describe_shows_the_pods_story(shop: Any) -> None:
    shop("wait", "--for=condition=Ready", "pod/till", "--timeout=30s")
    text = shop.until(
        lambda: (out := shop("describe", "pod", "till")) and "Started" in out and out, "the event"
    )
    for words in ("Successfully assigned", "Image:         shop:1", "State:          Running", "Scheduled"):
        assert words in text
    assert "ScalingReplicaSet" in shop("describe", "deployment", "shop")
    assert "Allocated resources" in shop("describe", "nodes")


def test_logs_can_be_followed_and_cut(kubectl: Any) -> None:
    command = 'for i in 1 2 3 4 5; do echo "line $i"; done; read x; sleep 0.2; echo "last"'
    kubectl("run", "talker", "--image=x", "--restart=Never", "--command", "--", "sh", "-c", command)
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talker", "--timeout=30s")
    assert kubectl("logs", "talker", "-f").splitlines()[-1] == "last"
    assert kubectl("logs", "talker", "--tail=2") == "line 5\nlast\n"
    assert kubectl("logs", "talker", "--limit-bytes=6") == "line 1"
    stamped = kubectl("logs", "talker", "--timestamps").splitlines()[0]
    assert stamped.endswith("Z line 1")


def test_exec_runs_beside_the_container_and_gives_its_exit_code(shop: Any) -> None:
    shop("wait", "--for=condition=Ready", "pod/till", "--timeout=30s")
    assert shop("exec", "till", "--", "echo", "hello") == "hello\n"
    assert shop("exec", "-i", "till", "--", "cat", stdin="through stdin") == "through stdin"
    done = shop.run("exec", "till", "--", "sh", "-c", "echo wrong >&2; exit 7")
    assert (done.returncode, "wrong" in done.stderr) == (7, True)
    assert "command terminated with exit code 7" in done.stderr


def test_exec_with_a_terminal(shop: Any) -> None:
    shop("wait", "--for=condition=Ready", "pod/till", "--timeout=30s")
    script = f"{shop.path} exec -it till -- sh -c 'tty; stty size'"
    done = subprocess.run(
        ["script", "-qec", script, "/dev/null"],
        env={**shop.environment, "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "/dev/pts/" in done.stdout, done.stdout + done.stderr


def test_scale_rollout_undo_and_history(shop: Any) -> None:
    shop("scale", "deployment/shop", "--replicas=2")
    shop("rollout", "status", "deployment/shop", "--timeout=30s")
    shop("set", "image", "deployment/shop", "main=shop:2")
    shop("rollout", "status", "deployment/shop", "--timeout=60s")
    pods = shop.json("get", "pods", "-l", "app=shop")["items"]
    images = {
        pod["spec"]["containers"][0]["image"] for pod in pods if "deletionTimestamp" not in pod["metadata"]
    }
    assert images == {"shop:2"}
    assert shop("rollout", "history", "deployment/shop").splitlines()[2:4] == [
        "1         <none>",
        "2         <none>",
    ]
    shop("rollout", "undo", "deployment/shop")
    shop("rollout", "status", "deployment/shop", "--timeout=60s")
    assert (
        shop.json("get", "deployment", "shop")["spec"]["template"]["spec"]["containers"][0]["image"]
        == "shop:1"
    )
    shop("rollout", "restart", "deployment/shop")
    shop("rollout", "status", "deployment/shop", "--timeout=60s")


def test_killing_a_process_brings_it_back(shop: Any) -> None:
    pod = shop.json("get", "pods", "-l", "app=shop")["items"][0]["metadata"]["name"]
    shop.run("exec", pod, "--", "sh", "-c", "kill -9 -- -$(ps -o sid= -p $PPID | tr -d ' ')")
    identity = shop.json("get", "pod", pod)["status"]["containerStatuses"][0]["containerID"]
    assert identity.startswith("process://")

    def restarted() -> bool:
        state = shop.json("get", "pod", pod)["status"]["containerStatuses"][0]
        return bool(state["restartCount"] >= 1 and state["ready"])

    pid = shop("exec", pod, "--", "sh", "-c", "ps -eo pid,args | grep '[c]olour' | head -1").split()[0]
    assert pid.isdigit()
    _kill_processes_of(shop, pod)
    shop.until(restarted, "the restart")
    last = shop.json("get", "pod", pod)["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 128 + signal.SIGKILL


def _kill_processes_of(kubectl: Any, pod: str) -> None:
    """Kill what runs with the pod's name in its environment, as an operator would with ``kill -9``."""
    import os
    from pathlib import Path

    marker = f"POD_NAME={pod}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if marker in environment:
            os.kill(int(entry.name), signal.SIGKILL)


def test_a_crashing_container_backs_off(kubectl: Any) -> None:
    kubectl("run", "crasher", "--image=x", "--command", "--", "sh", "-c", "exit 3")

    def waiting() -> bool:
        status = kubectl.json("get", "pod", "crasher").get("status", {})
        states = status.get("containerStatuses") or [{}]
        return (states[0].get("state") or {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"

    kubectl.until(waiting, "CrashLoopBackOff")
    assert "CrashLoopBackOff" in kubectl("get", "pod", "crasher")
    state = kubectl.json("get", "pod", "crasher")["status"]["containerStatuses"][0]
    assert state["lastState"]["terminated"]["exitCode"] == 3


def test_a_container_without_a_command_says_what_to_add(kubectl: Any) -> None:
    kubectl("run", "web", "--image=nginx")

    def waiting() -> Any:
        states = kubectl.json("get", "pod", "web").get("status", {}).get("containerStatuses") or [{}]
        return (states[0].get("state") or {}).get("waiting")

    state = kubectl.until(lambda: (found := waiting()) and found.get("message") and found, "the reason")
    assert "command" in state["message"]
    assert "nginx" in state["message"]


def test_label_annotate_patch_edit_and_delete(shop: Any) -> None:
    shop("label", "deployment", "shop", "tier=front")
    shop("annotate", "deployment", "shop", "note=hello")
    shop(
        "patch", "deployment", "shop", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/tier"}]'
    )
    shop("patch", "deployment", "shop", "--type=merge", "-p", '{"metadata":{"labels":{"side":"left"}}}')
    meta = shop.json("get", "deployment", "shop")["metadata"]
    assert meta["labels"] == {"app": "shop", "side": "left"}
    assert meta["annotations"]["note"] == "hello"
    shop("edit", "cm", "settings", KUBE_EDITOR="sed -i s/blue/green/")
    assert shop("get", "cm", "settings", "-o", "jsonpath={.data.colour}") == "green"
    out = shop("delete", "deployment,service,pod", "--all", timeout=60)
    assert 'deployment.apps "shop" deleted' in out
    shop.until(lambda: not shop.json("get", "pods", "-l", "app=shop")["items"], "the pods' end")


def test_a_service_is_reachable_at_its_cluster_ip(kubectl: Any) -> None:
    import urllib.error
    import urllib.request
    from pathlib import Path

    kubectl("apply", "-f", str(Path(__file__).parents[2] / "docs" / "examples" / "hello.yaml"))
    kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    address = kubectl("get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}")

    def answer() -> int | None:
        try:
            with urllib.request.urlopen(f"http://{address}:8080/", timeout=5) as response:
                return int(response.status)
        except (urllib.error.URLError, OSError):
            return None

    assert kubectl.until(answer, "the answer") == 200


def test_explain_discovery_and_versions(kubectl: Any) -> None:
    assert "failureThreshold" in kubectl("explain", "pod.spec.containers.livenessProbe")
    assert "maxSurge" in kubectl("explain", "deployment.spec", "--recursive")
    resources = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "jobs.batch", "leases.coordination.k8s.io"} <= set(resources)
    assert "apps/v1" in kubectl("api-versions").split()
    version = json.loads(kubectl("version", "-o", "json"))["serverVersion"]
    assert (version["major"], version["minor"]) == ("1", "37")
    assert "Kubernetes control plane" in kubectl("cluster-info")


def test_who_may_do_what(kubectl: Any) -> None:
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    done = kubectl.run("auth", "can-i", "create", "pods", "--as=bob")
    assert (done.returncode, done.stdout.strip()) == (1, "no")
    assert "kubernetes-admin" in kubectl("auth", "whoami")
    refusal = kubectl.refused("get", "pods", "--as=bob")
    assert 'pods is forbidden: User "bob" cannot list resource "pods" in API group ""' in refusal
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "bob", "--role=reader", "--user=bob")
    kubectl.until(lambda: kubectl.run("get", "pods", "--as=bob").returncode == 0, "the right")


def test_imperative_commands(kubectl: Any) -> None:
    kubectl("create", "deployment", "web", "--image=x", "--replicas=2", "--", "sleep", "1000")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    service = kubectl.json("get", "service", "web")["spec"]
    assert service["clusterIP"].startswith("127.96.")
    kubectl("create", "job", "once", "--image=x", "--", "sh", "-c", "echo done")
    kubectl("wait", "--for=condition=complete", "job/once", "--timeout=30s")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("create", "serviceaccount", "robot")
    assert kubectl("create", "token", "robot").count(".") == 2
    assert "ScalingReplicaSet" in kubectl("events")
    kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu=80%")
    assert "web" in kubectl("get", "hpa")
    kubectl("cordon", kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
    kubectl("uncordon", kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))


def test_diff_shows_what_apply_would_change(shop: Any) -> None:
    done = shop.run("diff", "-f", "-", stdin=SHOP.replace("shop:1", "shop:9", 1))
    assert done.returncode == 1, done.stderr
    assert "image: shop:9" in done.stdout
    assert shop.run("diff", "-f", "-", stdin=SHOP).returncode == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param("apiVersion: v1\nkind: Pod\nmetadata: {name: A_b}\n", "is invalid", id="name"),
        pytest.param(
            "apiVersion: v1\nkind: Nonsense\nmetadata: {name: a}\n", "no matches for kind", id="kind"
        ),
        pytest.param(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nbogus: 1\n",
            'strict decoding error: unknown field "bogus"',
            id="unknown field",
        ),
        pytest.param(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: [1]\n", "cannot unmarshal", id="type"
        ),
        pytest.param(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: nowhere}\n",
            'namespaces "nowhere" not found',
            id="namespace",
        ),
        pytest.param(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: b}}, "
            "template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}\n",
            "`selector` does not match template `labels`",
            id="selector",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_in_words_that_help(kubectl: Any, body: str, words: str) -> None:
    assert words in kubectl.refused("apply", "-f", "-", stdin=body)


def test_what_is_not_there_is_not_found(kubectl: Any) -> None:
    assert 'Error from server (NotFound): pods "nobody" not found' in kubectl.refused("get", "pod", "nobody")
    assert "AlreadyExists" in kubectl.refused("create", "namespace", "default")
