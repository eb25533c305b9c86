"""The other strategies under the same faults: one template at a time, one node at a time, one ordinal at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scenario_kit import Mischief, is_up, live, of
from workload_kit import deployment, rolled_out, set_image, template, workload

from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

Start = Callable[..., Cluster]
SEEDS = (1, 2, 3)
JOBS = "jobs.v1.batch"


@pytest.fixture(params=[False, True], ids=["alone", "elected"])
def elections(request: pytest.FixtureRequest) -> bool:
    """Whether leases decide who works; then some are taken away, too."""
    return bool(request.param)


def cluster_of(start: Start, seed: int, nodes: int, elections: bool) -> Cluster:
    simulated = {"nodes": nodes, "startDelay": 1.0, "readyDelay": 1.0, "stopDelay": 2.0}
    config = {"plugins": {"node": [{"simulated": simulated}]}, "cluster": {"leaderElection": elections}}
    return start(config=config, seed=seed)


def image(pod: Any) -> str:
    return str(pod["spec"]["containers"][0]["image"])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_recreate_rollout_never_has_pods_of_two_templates(
    cluster_factory: Start, always: Any, seed: int, elections: bool
) -> None:
    cluster = cluster_of(cluster_factory, seed, 2, elections)
    cluster.apply(deployment(replicas=4, strategy={"type": "Recreate"}))
    cluster.wait(lambda: rolled_out(cluster), "10m")

    def broken(pods: list[Any]) -> str:
        # Also one that is on its way out still runs.
        images = {
            image(pod) for pod in of(pods, "web") if pod["status"].get("phase") not in ("Succeeded", "Failed")
        }
        return f"pods of {sorted(images)} at once" if len(images) > 1 else ""

    always(cluster, "pods", broken)
    resources = ["pods", "replicasets.v1.apps", "deployments.v1.apps"]
    mischief = Mischief(cluster, seed, ["deployment", "replicaset"], resources)
    for wanted in ("app:2", "app:3"):
        set_image(cluster, wanted)
        for _ in range(6):
            mischief.step()
        mischief.end()
        cluster.wait(lambda: rolled_out(cluster), "30m")
        assert {image(pod) for pod in live(list(cluster.list("pods")))} == {wanted}
    assert always.looked > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_a_daemon_set_is_updated_node_by_node_and_never_twice_on_one(
    cluster_factory: Start, always: Any, seed: int, elections: bool
) -> None:
    cluster = cluster_of(cluster_factory, seed, 5, elections)
    resource = "daemonsets.v1.apps"
    made = workload("DaemonSet", "agent", 0, pod_template=template({"app": "agent"}))
    del made["spec"]["replicas"]
    cluster.apply(made)

    def settled(wanted: str) -> bool:
        pods = live(of(list(cluster.list("pods")), "agent"))
        return len(pods) == 5 and all(map(is_up, pods)) and {image(pod) for pod in pods} == {wanted}

    cluster.wait(lambda: settled("app:1"), "10m")

    def broken(pods: list[Any]) -> str:
        mine = of(pods, "agent")
        crowded = [node for node, count in Counter(map(node_of, live(mine))).items() if node and count > 1]
        if crowded:
            return f"two pods on {crowded}"
        up = sum(map(is_up, mine))
        return f"{5 - up} of five nodes without, with maxUnavailable 1" if up < 4 else ""

    def node_of(pod: Any) -> str:
        return str(pod["spec"].get("nodeName", ""))

    always(cluster, "pods", broken)
    mischief = Mischief(cluster, seed, ["daemonset"], ["pods", resource, "controllerrevisions.v1.apps"])
    for wanted in ("app:2", "app:1"):
        change = template({"app": "agent"})
        change["spec"]["containers"][0]["image"] = wanted
        cluster.patch(resource, "agent", {"spec": {"template": change}})
        for _ in range(6):
            mischief.step()
        mischief.end()
        cluster.wait(lambda wanted=wanted: settled(wanted), "30m")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stateful_set_is_updated_from_the_highest_ordinal_down_one_at_a_time(
    cluster_factory: Start, always: Any, seed: int, elections: bool
) -> None:
    cluster = cluster_of(cluster_factory, seed, 2, elections)
    resource = "statefulsets.v1.apps"
    cluster.apply(workload("StatefulSet", "db", 4, pod_template=template({"app": "db"}), serviceName="db"))

    def settled(wanted: str) -> bool:
        pods = live(of(list(cluster.list("pods")), "db"))
        return len(pods) == 4 and all(map(is_up, pods)) and {image(pod) for pod in pods} == {wanted}

    cluster.wait(lambda: settled("app:1"), "10m")
    target, shrinks = "app:1", False

    def broken(pods: list[Any]) -> str:
        mine = {int(meta.name(pod).rpartition("-")[2]): pod for pod in of(pods, "db")}
        if shrinks:
            leaving = [number for number, pod in mine.items() if meta.is_deleting(pod)]
            return f"{leaving} of {sorted(mine)} go" if leaving not in ([], [max(mine)]) else ""
        up = sum(is_up(pod) for pod in mine.values())
        if up < 3:
            return f"{4 - up} of four unavailable"
        new = [number for number, pod in mine.items() if image(pod) == target]
        lowest = min(new, default=4)
        behind = [number for number in mine if number > lowest and number not in new]
        return f"{behind} are old while {lowest} is new" if behind else ""

    always(cluster, "pods", broken)
    mischief = Mischief(cluster, seed, ["statefulset"], ["pods", resource])
    for wanted in ("app:2", "app:3"):
        target = wanted
        change = template({"app": "db"})
        change["spec"]["containers"][0]["image"] = wanted
        cluster.patch(resource, "db", {"spec": {"template": change}})
        for _ in range(6):
            mischief.step()
        mischief.end()
        cluster.wait(lambda wanted=wanted: settled(wanted), "30m")
    # Down again, the highest first and one at a time.
    shrinks = True
    cluster.patch(resource, "db", {"spec": {"replicas": 1}})
    for _ in range(4):
        mischief.step()
    mischief.end()
    cluster.wait(lambda: [meta.name(pod) for pod in of(list(cluster.list("pods")), "db")] == ["db-0"], "30m")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_job_whose_leaders_change_counts_every_pod_once(
    cluster_factory: Start, always: Any, seed: int
) -> None:
    cluster = cluster_of(cluster_factory, seed, 2, True)
    ended: dict[str, str] = {}
    indexes: dict[str, set[str]] = {}

    def broken(pods: list[Any]) -> str:
        mine = of(pods, "count")
        running = Counter(
            meta.annotations(pod)["batch.kubernetes.io/job-completion-index"] for pod in live(mine)
        )
        for pod in mine:
            if (phase := pod["status"].get("phase")) in ("Succeeded", "Failed"):
                ended[meta.uid(pod)] = phase
                index = meta.annotations(pod)["batch.kubernetes.io/job-completion-index"]
                indexes.setdefault(index, set()).add(meta.uid(pod))
        twice = [index for index, count in running.items() if count > 1]
        return f"two pods of {twice}" if twice else ""

    always(cluster, "pods", broken)
    pods = template({"app": "count"}, {"run-for": "3s"}, restartPolicy="Never")
    spec = {"completions": 20, "parallelism": 5, "completionMode": "Indexed", "template": pods}
    cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "count"}, "spec": spec})
    mischief = Mischief(cluster, seed, ["job"], ["pods", JOBS])
    for _ in range(10):
        mischief.step()
    mischief.end()
    assert cluster.wait(lambda: conditions.is_true(cluster.get(JOBS, "count"), "Complete"), "30m")
    status = cluster.get(JOBS, "count")["status"]
    assert (status["succeeded"], status["completedIndexes"]) == (20, "0-19")
    assert Counter(ended.values()) == {"Succeeded": 20}
    assert all(len(uids) == 1 for uids in indexes.values())
