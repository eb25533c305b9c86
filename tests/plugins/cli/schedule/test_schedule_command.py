"""What `kubernel schedule explain` and `what-if` say, and that they touch nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from kubernel.config import Configuration, parse
from kubernel.errors import KubernelError, NotFound
from kubernel.testing import Cluster
from kubernel_plugins.cli.schedule import Plugin
from kubernel_plugins.cli.schedule.explaining import explain
from kubernel_plugins.cli.schedule.fork import read
from kubernel_plugins.cli.schedule.nodes import parse_node
from kubernel_plugins.cli.schedule.supposing import what_if

Obj = dict[str, Any]
CONFIG = Configuration()


class Asking:
    """A small cluster, and the command's answers about it."""

    def __init__(
        self, cluster: Cluster, out: pytest.CaptureFixture[str], config: Configuration = CONFIG
    ) -> None:
        self.cluster = cluster
        self._config = config
        self._out = out

    def __call__(self, *words: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        Plugin(None, None).kubernel_cli(parser.add_subparsers())
        args = parser.parse_args(["schedule", *words])
        contents = self.cluster.run(read(self.cluster.client()))
        command = explain if words[0] == "explain" else what_if
        self._out.readouterr()
        code = command(self._config, contents, self.cluster.clock.time(), args)
        return code, self._out.readouterr().out

    def json(self, *words: str) -> tuple[int, Any]:
        code, text = self(*words, "-o", "json")
        return code, json.loads(text)


@pytest.fixture
def ask(cluster_factory: Any, capsys: pytest.CaptureFixture[str]) -> Asking:
    nodes = {"simulated": {"nodes": 2, "cpu": "2", "memory": "4Gi"}}
    cluster = cluster_factory(config={"plugins": {"node": [nodes]}})
    return Asking(cluster, capsys)


def deployment(replicas: int, cpu: str = "500m", name: str = "web") -> Obj:
    container = {"name": "m", "image": "app:1", "resources": {"requests": {"cpu": cpu}}}
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def pod(name: str, **spec: Any) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "m", "image": "app:1"}], **spec},
    }


def test_each_policy_says_of_each_node_why_not_or_how_well(ask: Asking) -> None:
    ask.cluster.patch("nodes", "node-2", {"metadata": {"labels": {"disk": "ssd"}}})
    ask.cluster.patch("nodes", "node-1", {"spec": {"unschedulable": True}})
    ask.cluster.create(pod("x", nodeSelector={"disk": "ssd"}))
    code, text = ask("explain", "pod/x")
    lines = text.splitlines()
    assert code == 0
    assert lines[0] == "default/x, default-scheduler: on node-2; fits 1 of 2 nodes, best: node-2"
    assert lines[1].split()[0] == "NODE"
    assert "NodeAffinity" in lines[1]
    assert lines[2].startswith("node-2")
    assert lines[3].startswith("node-1")
    assert "node(s) didn't match Pod's node affinity/selector" in lines[3]
    assert "node(s) were unschedulable" in lines[3]
    code, told = ask.json("explain", "x")
    assert told["nodes"]["node-1"]["total"] is None
    assert told["nodes"]["node-2"]["scores"]["NodeResourcesFit"] > 0
    weighted = sum(told["weights"][name] * score for name, score in told["nodes"]["node-2"]["scores"].items())
    assert told["nodes"]["node-2"]["total"] == weighted


def test_a_pod_that_has_a_node_is_explained_as_if_it_had_none(ask: Asking) -> None:
    port = [{"name": "m", "image": "app:1", "ports": [{"containerPort": 80, "hostPort": 80}]}]
    ask.cluster.create(pod("x", containers=port))
    _, told = ask.json("explain", "pod/x")
    assert told["node"] in told["nodes"]
    assert not any(each["refusals"] for each in told["nodes"].values())


def test_every_policy_is_told_of_and_who_could_make_room(ask: Asking) -> None:
    ask.cluster.create(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 10,
        }
    )
    fill = {"name": "m", "image": "app:1", "resources": {"requests": {"cpu": "1500m"}}}
    ask.cluster.create(pod("a", containers=[fill], nodeSelector={"kubernetes.io/hostname": "node-1"}))
    gate = [{"name": "example.com/wait"}]
    ask.cluster.create(pod("x", containers=[fill], priorityClassName="high", schedulingGates=gate))
    ask.cluster.create(pod("b", containers=[fill], nodeSelector={"kubernetes.io/hostname": "node-2"}))
    code, text = ask("explain", "pod/x")
    assert code == 1
    assert "DefaultPreemption: would fit on node-1 without default/a\n" in text
    assert "DefaultPreemption: would fit on node-2 without default/b\n" in text
    ask.cluster.patch("pods", "x", {"spec": {"nodeSelector": {"zone": "z"}}})
    _, text = ask("explain", "pod/x")
    hopeless = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    assert f"DefaultPreemption: {hopeless}\n" in text
    _, told = ask.json("explain", "pod/x")
    silent = text.partition("Nothing to say: ")[2].partition("\n")[0].split(", ")
    columns = text.splitlines()[1].split()[1:-1]
    assert sorted([*columns, *silent]) == sorted(told["policies"])
    assert {"VolumeBinding", "DynamicResources", "PodTopologySpread", "ImageLocality"} <= set(silent)


def test_gates_are_told_and_a_pod_that_fits_nowhere_has_exit_code_one(ask: Asking) -> None:
    ask.cluster.create(
        pod("x", schedulingGates=[{"name": "example.com/wait"}], nodeName=None, nodeSelector={"a": "b"})
    )
    code, text = ask("explain", "pod/x")
    assert code == 1
    assert "SchedulingGates keeps it out of the queue" in text
    assert "fits 0 of 2 nodes" in text


def test_what_cannot_be_explained_is_refused(ask: Asking) -> None:
    with pytest.raises(NotFound, match='pods "x" not found'):
        ask("explain", "pod/x")
    with pytest.raises(KubernelError, match="only pods are scheduled"):
        ask("explain", "deploy/x")
    ask.cluster.create(pod("other", schedulerName="another"))
    with pytest.raises(KubernelError, match='is for the scheduler "another"'):
        ask("explain", "pod/other")


def test_a_new_node_takes_what_stays_pending_and_nothing_is_written(ask: Asking) -> None:
    ask.cluster.apply(deployment(4))
    revision = ask.cluster.kernel.registry.store.revision
    code, text = ask("what-if", "--scale", "deploy/web=10")
    assert code == 1
    assert "default/Deployment/web  (pending)  0    2" in text
    assert "Would stay pending:" in text
    assert "0/2 nodes are available: 2 Insufficient cpu." in text
    code, told = ask.json("what-if", "--scale", "deploy/web=10", "--add-node", "big=8cpu,32Gi")
    assert (code, told["pending"]) == (0, [])
    assert sum(each["new"] for each in told["pods"]) == 6
    assert {each["node"] for each in told["pods"]} == {"node-1", "node-2", "big"}
    assert ask.cluster.kernel.registry.store.revision == revision


def test_a_drained_node_is_emptied_but_for_daemons(ask: Asking) -> None:
    ask.cluster.apply(deployment(4))
    daemon = deployment(1, "100m", "daemon")
    del daemon["spec"]["replicas"]
    ask.cluster.apply({**daemon, "kind": "DaemonSet"})
    ask.cluster.create(pod("bare", nodeName="node-2"))
    code, told = ask.json("what-if", "--drain", "node-2", "--add-node", "big=8cpu,32Gi")
    assert code == 0
    assert [each["workload"] for each in told["pods"] if each["node"] == "node-2"] == [
        "default/DaemonSet/daemon"
    ]
    assert "default/Pod/bare" in [each["workload"] for each in told["gone"]]
    web = [each for each in told["pods"] if each["workload"] == "default/Deployment/web"]
    assert len(web) == 4
    code, text = ask("what-if", "--drain", "node-2", "--drain", "node-1")
    assert code == 1
    assert "2 node(s) were unschedulable" in text


def test_a_disruption_budget_is_respected_pod_by_pod(ask: Asking) -> None:
    ask.cluster.apply(deployment(4, "100m"))
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}},
    }
    ask.cluster.apply(budget)
    code, told = ask.json("what-if", "--drain", "node-1")
    assert (code, told["notEvicted"]) == (0, [])
    assert {each["node"] for each in told["pods"]} == {"node-2"}
    ask.cluster.apply({**budget, "spec": {**budget["spec"], "minAvailable": 4}})
    code, told = ask.json("what-if", "--drain", "node-1")
    assert {each["reason"] for each in told["notEvicted"]} == {
        "Cannot evict pod as it would violate the pod's disruption budget."
    }
    assert "node-1" in {each["node"] for each in told["pods"]}


def test_a_quota_that_keeps_pods_from_being_made_is_told(ask: Asking) -> None:
    ask.cluster.apply(deployment(1, "100m"))
    ask.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "few", "namespace": "default"},
            "spec": {"hard": {"pods": "2"}},
        }
    )
    _, text = ask("what-if", "--scale", "deploy/web=5")
    assert "Would not be created:\n  pods of default/Deployment/web: " in text
    assert "exceeded quota: few" in text


def test_volumes_of_new_pods_are_supposed_too_and_none_is_made(ask: Asking) -> None:
    stateful = deployment(1, name="db")
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    stateful["kind"] = "StatefulSet"
    stateful["spec"] |= {"serviceName": "db", "volumeClaimTemplates": [claim]}
    ask.cluster.apply(stateful)
    ask.cluster.clock.advance(30)
    volumes = ask.cluster.data_dir / "volumes"
    before = sorted(volumes.iterdir())
    assert len(before) == 1
    code, told = ask.json("what-if", "--scale", "statefulset/db=3")
    assert (code, told["pending"]) == (0, [])
    assert sorted(each["name"] for each in told["pods"] if each["node"]) == ["db-0", "db-1", "db-2"]
    code, told = ask.json("what-if", "--scale", "statefulset/db=0")
    assert [each["name"] for each in told["gone"]] == ["db-0"]
    assert sorted(volumes.iterdir()) == before


def test_manifests_cordons_and_nothing_at_all(ask: Asking, tmp_path: Path) -> None:
    code, text = ask("what-if")
    assert (code, text.splitlines()[0]) == (0, "No pod would move.")
    manifest = tmp_path / "web.yaml"
    manifest.write_text(json.dumps(deployment(2)))
    _, told = ask.json("what-if", "--apply", str(manifest), "--cordon", "node-1")
    assert [each["node"] for each in told["pods"]] == ["node-2", "node-2"]
    ask.cluster.patch("nodes", "node-1", {"spec": {"unschedulable": True}})
    _, told = ask.json("what-if", "--apply", str(manifest), "--cordon", "node-2", "--uncordon", "node-1")
    assert [each["node"] for each in told["pods"]] == ["node-1", "node-1"]


def test_a_node_is_described_in_one_word() -> None:
    node = parse_node(
        "big=8cpu,32Gi,50pods,example.com/gpu=2,label:zone=a,taint:k=v:NoSchedule,taint:w:NoExecute"
    )
    assert node["status"]["allocatable"] == {
        "cpu": "8",
        "memory": "32Gi",
        "pods": "50",
        "example.com/gpu": "2",
    }
    assert node["metadata"]["labels"]["zone"] == "a"
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "big"
    assert node["spec"]["taints"] == [
        {"key": "k", "value": "v", "effect": "NoSchedule"},
        {"key": "w", "effect": "NoExecute"},
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("--add-node", "big"),
        ("--add-node", "big=many"),
        ("--add-node", "big=taint:a=b"),
        ("--scale", "web=3"),
        ("--scale", "deploy/web=-1"),
        ("--apply", "/nowhere"),
        ("--for", "ever"),
        ("--drain", "node-9"),
    ],
)
def test_what_is_not_understood_is_named(ask: Asking, words: tuple[str, str]) -> None:
    with pytest.raises(KubernelError, match=r"node-9|--"):
        ask("what-if", *words)


def test_extenders_do_not_hear_of_what_is_only_supposed(
    cluster_factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nobody listens there: where it is asked, no pod gets a node.
    extender = {"urlPrefix": "http://127.0.0.1:1", "filterVerb": "filter", "bindVerb": "bind"}
    scheduler = {"default": {"configuration": {"extenders": [extender]}}}
    nodes = {"simulated": {"nodes": 2, "cpu": "2", "memory": "4Gi"}}
    cluster = cluster_factory(config={"plugins": {"node": [nodes], "scheduler": [scheduler]}}, real_time=True)
    ask = Asking(cluster, capsys, parse({"plugins": {"scheduler": [scheduler]}}))
    cluster.create(pod("a"))
    code, found = ask.json("what-if")
    assert code == 0, found
    assert "nodeName" not in cluster.get("pods", "a")["spec"]
