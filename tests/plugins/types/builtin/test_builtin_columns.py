"""What kubectl get prints for the built-in types."""

from __future__ import annotations

from typing import Any

import pytest
from builtin_kit import Cluster

from kubernel_plugins.api.builtin.columns.common import format_selector, human_duration

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
FIVE_MINUTES_AGO = "2025-12-31T23:55:00Z"


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


def cells(cluster: Cluster, plural: str, obj: dict[str, Any], group: str = "") -> dict[str, Any]:
    type = cluster.type(plural, group)
    return {column.name: column.value(obj, NOW) for column in type.columns}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (12_600, "3h30m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (63_071_999, "729d"),
        (63_072_000, "2y"),
        (64_000_000, "2y10d"),
        (260_000_000, "8y"),
    ],
)
def test_ages_are_as_kubectl_prints_them(seconds: int, shown: str) -> None:
    assert human_duration(seconds) == shown


def running(name: str = "main", restarts: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "ready": True,
        "restartCount": restarts,
        "state": {"running": {"startedAt": FIVE_MINUTES_AGO}},
        **more,
    }


def waiting(reason: str, **more: Any) -> dict[str, Any]:
    return {"name": "main", "ready": False, "state": {"waiting": {"reason": reason}}, **more}


def ended(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    terminated: dict[str, Any] = {"exitCode": code}
    if reason:
        terminated["reason"] = reason
    return {"name": "main", "ready": False, "state": {"terminated": terminated}, **more}


def pod(phase: str, *containers: dict[str, Any], init: Any = (), **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "creationTimestamp": FIVE_MINUTES_AGO},
        "spec": {
            "containers": [{"name": "main"}],
            "initContainers": [{"name": f"init{i}"} for i in range(2)] if init else [],
        },
        "status": {
            "phase": phase,
            "containerStatuses": list(containers),
            "initContainerStatuses": list(init),
            **status,
        },
    }


@pytest.mark.parametrize(
    ("obj", "ready", "status"),
    [
        pytest.param(pod("Pending"), "0/1", "Pending", id="pending"),
        pytest.param(pod("Running", running()), "1/1", "Running", id="running"),
        pytest.param(
            pod("Pending", waiting("ContainerCreating")), "0/1", "ContainerCreating", id="being-created"
        ),
        pytest.param(pod("Running", waiting("CrashLoopBackOff")), "0/1", "CrashLoopBackOff", id="crash-loop"),
        pytest.param(pod("Succeeded", ended(0, "Completed")), "0/1", "Completed", id="completed"),
        pytest.param(pod("Failed", ended(1, "Error")), "0/1", "Error", id="error"),
        pytest.param(pod("Failed", ended(3)), "0/1", "ExitCode:3", id="exit-code"),
        pytest.param(pod("Pending", init=[waiting("PodInitializing")]), "0/1", "Init:0/2", id="initializing"),
        pytest.param(
            pod("Pending", init=[ended(0, "Completed"), running()]), "0/1", "Init:1/2", id="second-init"
        ),
        pytest.param(pod("Pending", init=[ended(1, "Error")]), "0/1", "Init:Error", id="init-failed"),
        pytest.param(
            pod("Pending", init=[waiting("CrashLoopBackOff")]),
            "0/1",
            "Init:CrashLoopBackOff",
            id="init-crash-loop",
        ),
        pytest.param(pod("Failed", reason="Evicted"), "0/1", "Evicted", id="evicted"),
        pytest.param(
            pod(
                "Pending",
                conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
            ),
            "0/1",
            "SchedulingGated",
            id="gated",
        ),
    ],
)
def test_pods_status_is_what_their_containers_do(
    cluster: Cluster, obj: dict[str, Any], ready: str, status: str
) -> None:
    shown = cells(cluster, "pods", obj)
    assert (shown["Ready"], shown["Status"]) == (ready, status)


def test_a_pod_that_is_deleted_is_terminating_until_it_ended(cluster: Cluster) -> None:
    obj = pod("Running", running())
    obj["metadata"]["deletionTimestamp"] = FIVE_MINUTES_AGO
    assert cells(cluster, "pods", obj)["Status"] == "Terminating"
    assert cells(cluster, "pods", {**obj, "status": {"phase": "Succeeded"}})["Status"] == "Succeeded"


def test_sidecars_count_as_containers(cluster: Cluster) -> None:
    obj = pod("Running", running())
    obj["spec"]["initContainers"] = [{"name": "proxy", "restartPolicy": "Always"}]
    obj["status"]["initContainerStatuses"] = [running("proxy", 1, started=True)]
    shown = cells(cluster, "pods", obj)
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == ("2/2", "Running", "1")


def test_restarts_say_when_the_last_one_was(cluster: Cluster) -> None:
    last = {"lastState": {"terminated": {"finishedAt": FIVE_MINUTES_AGO, "exitCode": 1}}}
    assert cells(cluster, "pods", pod("Running", running(restarts=2, **last)))["Restarts"] == "2 (5m ago)"


def test_wide_columns_of_a_pod(cluster: Cluster) -> None:
    shown = cells(cluster, "pods", pod("Pending"))
    assert [shown[name] for name in ("IP", "Node", "Nominated Node", "Readiness Gates")] == ["<none>"] * 4
    assert [column.name for column in cluster.type("pods").columns if column.priority == 0] == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
    ]


def test_a_deployment(cluster: Cluster) -> None:
    obj = {
        "metadata": {"name": "web", "creationTimestamp": FIVE_MINUTES_AGO},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}},
        },
        "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
    }
    assert cells(cluster, "deployments", obj, "apps") == {
        "Name": "web",
        "Ready": "2/3",
        "Up-to-date": 3,
        "Available": 1,
        "Age": "5m",
        "Containers": "a,b",
        "Images": "x,y",
        "Selector": "app=web",
    }


@pytest.mark.parametrize(
    ("plural", "group", "names"),
    [
        pytest.param(
            "replicasets",
            "apps",
            "Name Desired Current Ready Age Containers Images Selector",
            id="replicasets",
        ),
        pytest.param("statefulsets", "apps", "Name Ready Age Containers Images", id="statefulsets"),
        pytest.param(
            "daemonsets",
            "apps",
            "Name Desired Current Ready Up-to-date Available Node+Selector Age Containers Images Selector",
            id="daemonsets",
        ),
        pytest.param(
            "jobs", "batch", "Name Status Completions Duration Age Containers Images Selector", id="jobs"
        ),
        pytest.param(
            "cronjobs",
            "batch",
            "Name Schedule Timezone Suspend Active Last+Schedule Age Containers Images Selector",
            id="cronjobs",
        ),
        pytest.param("services", "", "Name Type Cluster-IP External-IP Port(s) Age Selector", id="services"),
        pytest.param(
            "nodes",
            "",
            "Name Status Roles Age Version Internal-IP External-IP OS-Image Kernel-Version Container-Runtime",
            id="nodes",
        ),
        pytest.param(
            "events",
            "",
            "Last+Seen Type Reason Object Subobject Source Message First+Seen Count Name",
            id="events",
        ),
        pytest.param(
            "persistentvolumeclaims",
            "",
            "Name Status Volume Capacity Access+Modes StorageClass VolumeAttributesClass Age VolumeMode",
            id="claims",
        ),
        pytest.param(
            "horizontalpodautoscalers",
            "autoscaling",
            "Name Reference Targets MinPods MaxPods Replicas Age",
            id="autoscalers",
        ),
        pytest.param("limitranges", "", "Name Created+At", id="without-a-printer"),
        pytest.param("roles", "rbac.authorization.k8s.io", "Name Created+At", id="roles"),
    ],
)
def test_columns_are_upstreams_in_upstreams_order(
    cluster: Cluster, plural: str, group: str, names: str
) -> None:
    columns = [column.name for column in cluster.type(plural, group).columns]
    assert columns == [name.replace("+", " ") for name in names.split()]


@pytest.mark.parametrize(
    ("spec", "status", "external", "ports"),
    [
        pytest.param({"type": "ClusterIP"}, {}, "<none>", "80/TCP", id="cluster-ip"),
        pytest.param(
            {"type": "ClusterIP", "externalIPs": ["1.2.3.4"]}, {}, "1.2.3.4", "80/TCP", id="external-ips"
        ),
        pytest.param({"type": "LoadBalancer"}, {}, "<pending>", "80/TCP", id="pending"),
        pytest.param(
            {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]},
            {"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}]}},
            "5.6.7.8",
            "80:30080/TCP",
            id="load-balancer",
        ),
        pytest.param(
            {"type": "ExternalName", "externalName": "x.org", "ports": []}, {}, "x.org", "<none>", id="name"
        ),
    ],
)
def test_services(cluster: Cluster, spec: Any, status: Any, external: str, ports: str) -> None:
    defaults = {"ports": [{"port": 80, "protocol": "TCP"}]}
    shown = cells(cluster, "services", {"metadata": {}, "spec": {**defaults, **spec}, "status": status})
    assert (shown["External-IP"], shown["Port(s)"]) == (external, ports)


def test_a_node(cluster: Cluster) -> None:
    obj = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        },
    }
    shown = cells(cluster, "nodes", obj)
    assert (shown["Status"], shown["Roles"], shown["Internal-IP"], shown["Age"]) == (
        "Ready,SchedulingDisabled",
        "control-plane",
        "10.0.0.1",
        "<unknown>",
    )


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        pytest.param({"completions": 3}, {"succeeded": 1}, ("Running", "1/3", ""), id="running"),
        pytest.param(
            {"completions": 1},
            {
                "succeeded": 1,
                "startTime": FIVE_MINUTES_AGO,
                "completionTime": "2025-12-31T23:55:10Z",
                "conditions": [{"type": "Complete", "status": "True"}],
            },
            ("Complete", "1/1", "10s"),
            id="complete",
        ),
        pytest.param(
            {"parallelism": 4},
            {"conditions": [{"type": "Failed", "status": "True"}], "startTime": FIVE_MINUTES_AGO},
            ("Failed", "0/1 of 4", "5m"),
            id="failed-queue",
        ),
    ],
)
def test_jobs(cluster: Cluster, spec: Any, status: Any, expected: tuple[str, ...]) -> None:
    shown = cells(cluster, "jobs", {"metadata": {}, "spec": spec, "status": status}, "batch")
    assert (shown["Status"], shown["Completions"], shown["Duration"]) == expected


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(
            {
                "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec"},
                "message": "hello ",
                "lastTimestamp": FIVE_MINUTES_AGO,
                "count": 4,
                "source": {"component": "kubelet", "host": "n1"},
            },
            id="core",
        ),
        pytest.param(
            {
                "regarding": {"kind": "Pod", "name": "web", "fieldPath": "spec"},
                "note": "hello",
                "eventTime": "2025-12-31T23:50:00.000000Z",
                "series": {"count": 4, "lastObservedTime": "2025-12-31T23:55:00.000000Z"},
                "reportingController": "kubelet",
                "reportingInstance": "n1",
            },
            id="events.k8s.io",
        ),
    ],
)
def test_events_print_the_same_in_both_shapes(cluster: Cluster, event: dict[str, Any]) -> None:
    shown = cells(cluster, "events", {"metadata": {"name": "e"}, **event})
    wanted = {
        "Last Seen": "5m",
        "Object": "pod/web",
        "Subobject": "spec",
        "Source": "kubelet, n1",
        "Message": "hello",
        "Count": 4,
    }
    assert {name: shown[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        pytest.param(None, "<none>", id="absent"),
        pytest.param({}, "<none>", id="empty"),
        pytest.param({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2", id="labels"),
        pytest.param(
            {
                "matchExpressions": [
                    {"key": "z", "operator": "DoesNotExist"},
                    {"key": "c", "operator": "In", "values": ["y", "x"]},
                    {"key": "d", "operator": "Exists"},
                ]
            },
            "c in (x,y),d,!z",
            id="expressions",
        ),
    ],
)
def test_selectors_print_as_queries(selector: Any, shown: str) -> None:
    assert format_selector(selector) == shown


@pytest.mark.parametrize(
    ("metric", "current", "shown"),
    [
        pytest.param(
            {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
            None,
            "cpu: <unknown>/80%",
            id="unknown",
        ),
        pytest.param(
            {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
            {"resource": {"current": {"averageUtilization": 12}}},
            "cpu: 12%/80%",
            id="utilization",
        ),
        pytest.param(
            {"type": "External", "external": {"target": {"averageValue": "10"}}},
            {"external": {"current": {"averageValue": "3"}}},
            "3/10 (avg)",
            id="external",
        ),
    ],
)
def test_autoscaler_targets(cluster: Cluster, metric: Any, current: Any, shown: str) -> None:
    obj = {
        "metadata": {},
        "apiVersion": "autoscaling/v2",
        "spec": {"metrics": [metric], "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
        "status": {"currentMetrics": [current] if current else []},
    }
    row = {c.name: c.value(obj, NOW) for c in cluster.type("horizontalpodautoscalers", "autoscaling").columns}
    assert (row["Targets"], row["Reference"], row["MinPods"]) == (shown, "Deployment/web", "<unset>")


def test_endpoints_show_three_and_count_the_rest(cluster: Cluster) -> None:
    subsets = [{"addresses": [{"ip": f"10.0.0.{i}"} for i in range(5)], "ports": [{"port": 80}]}]
    shown = cells(cluster, "endpoints", {"metadata": {}, "subsets": subsets})
    assert shown["Endpoints"] == "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more..."


def test_a_quota_separates_limits(cluster: Cluster) -> None:
    status = {"hard": {"pods": "3", "limits.cpu": "2"}, "used": {"pods": "1"}}
    shown = cells(cluster, "resourcequotas", {"metadata": {}, "status": status})
    assert (shown["Request"], shown["Limit"]) == ("pods: 1/3", "limits.cpu: 0/2")
