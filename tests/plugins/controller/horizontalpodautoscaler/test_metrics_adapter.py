"""Custom and external metrics of a real server behind APIServices, as an adapter of Prometheus or KEDA is one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tls_kit import server_context
from workload_kit import DEPLOYMENTS, deployment, events, rolled_out

from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

HPAS = "horizontalpodautoscalers.v2.autoscaling"
SERVICES = "apiservices.v1.apiregistration.k8s.io"
CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
WHEN = "2030-01-01T00:00:00Z"


class Adapter:
    """Serves both groups to the front proxy; ``series`` are the values by path below the version."""

    def __init__(self, directory: Path, trusted: str) -> None:
        context, self.ca = server_context(directory, "adapter", "adapter.monitoring.svc", trusted=trusted)
        self.series: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []
        kit = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                root, _, below = parts.path.removeprefix("/").partition("/")
                group, version, *rest = [*below.split("/"), "", ""][:2] + below.split("/")[2:]
                if root != "apis":
                    code, body = missing(parts.path)
                elif not rest:
                    code, body = 200, listed(group, version)
                else:
                    path = "/".join((group, *rest))
                    kit.asked.append(
                        (parts.path, parse_qs(parts.query), self.headers.get("X-Remote-User", ""))
                    )
                    found = kit.series.get(path)
                    code, body = (200, values(group, version, found)) if found is not None else missing(path)
                data = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Tests say what is to be known."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def listed(group: str, version: str) -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}",
        "resources": [],
    }


def values(group: str, version: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    kind = "MetricValueList" if group == CUSTOM else "ExternalMetricValueList"
    return {"kind": kind, "apiVersion": f"{group}/{version}", "metadata": {}, "items": found}


def missing(path: str) -> tuple[int, dict[str, Any]]:
    text = f"the server could not find the metric {path.rpartition('/')[2]}"
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
    return 404, {**status, "metadata": {}, "message": text}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(https=True) as made:
        yield made


@pytest.fixture(scope="module")
def adapter(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapter]:
    trust = "extension-apiserver-authentication"
    cluster.wait(lambda: cluster.find("configmaps", trust, "kube-system"))
    data = cluster.get("configmaps", trust, "kube-system")["data"]
    made = Adapter(tmp_path_factory.mktemp("adapter"), data["requestheader-client-ca-file"])
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}})
    where = {"name": "adapter", "namespace": "monitoring"}
    cluster.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": where, "spec": {"ports": [{"port": 443}]}}
    )
    cluster.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**where, "labels": {"kubernetes.io/service-name": "adapter"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"]}],
            "ports": [{"port": made.port}],
        }
    )
    names = [f"v1beta2.{CUSTOM}", f"v1beta1.{EXTERNAL}"]
    for name in names:
        version, _, group = name.partition(".")
        spec = {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100}
        service = {"caBundle": made.ca, "service": {**where, "port": 443}}
        frame = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name}}
        cluster.create({**frame, "spec": {**spec, **service}})
    for name in names:
        cluster.wait(lambda name=name: conditions.is_true(cluster.get(SERVICES, name), "Available"))
    yield made
    made.stop()


def hpa(name: str, metric: Any) -> Any:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [metric],
        },
    }


def begin(cluster: Cluster, name: str, replicas: int = 2) -> list[str]:
    cluster.create(deployment(name, replicas))
    cluster.wait(lambda: rolled_out(cluster, name))
    pods = cluster.list("pods", "default", labels=f"app={name}")
    return [meta.name(pod) for pod in pods]


def scaled(cluster: Cluster, name: str, to: int) -> str:
    """Waits for it; the reason that was told first."""
    cluster.wait(lambda: cluster.get(DEPLOYMENTS, name)["spec"]["replicas"] >= to)

    def told() -> list[Any]:
        found = [one for one in events(cluster, "SuccessfulRescale") if about(one) == name]
        return sorted(found, key=lambda one: str(one["firstTimestamp"]))

    cluster.wait(told)
    return str(told()[0]["message"])


def about(event: Any) -> str:
    return str(event["involvedObject"]["name"])


def test_a_custom_metric_of_the_pods_scales(cluster: Cluster, adapter: Adapter) -> None:
    pods = begin(cluster, "web")
    path = f"{CUSTOM}/namespaces/default/pods/*/http_requests"
    adapter.series[path] = [
        {
            "describedObject": {"kind": "Pod", "namespace": "default", "name": name, "apiVersion": "/v1"},
            "metric": {"name": "http_requests", "selector": None},
            "timestamp": WHEN,
            "value": "75",
        }
        for name in pods
    ]
    metric = {"name": "http_requests", "selector": {"matchLabels": {"verb": "GET"}}}
    target = {"type": "AverageValue", "averageValue": "50"}
    cluster.create(hpa("web", {"type": "Pods", "pods": {"metric": metric, "target": target}}))
    told = scaled(cluster, "web", 3)
    assert told == "New size: 3; reason: pods metric http_requests above target"
    asked, query, user = adapter.asked[-1]
    assert asked == f"/apis/{CUSTOM}/v1beta2/namespaces/default/pods/*/http_requests"
    assert query == {"labelSelector": ["app=web"], "metricLabelSelector": ["verb=GET"]}
    assert user == "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    (current,) = cluster.get(HPAS, "web")["status"]["currentMetrics"]
    assert current == {"type": "Pods", "pods": {"metric": metric, "current": {"averageValue": "75"}}}


def test_a_custom_metric_of_an_object_scales(cluster: Cluster, adapter: Adapter) -> None:
    begin(cluster, "shop")
    about = {"kind": "Ingress", "apiVersion": "networking.k8s.io/v1", "name": "main"}
    series = {"describedObject": about, "metric": {"name": "hits"}, "timestamp": WHEN, "value": "1500m"}
    adapter.series[f"{CUSTOM}/namespaces/default/ingresses.networking.k8s.io/main/hits"] = [series]
    source = {
        "describedObject": about,
        "metric": {"name": "hits"},
        "target": {"type": "Value", "value": "1"},
    }
    cluster.create(hpa("shop", {"type": "Object", "object": source}))
    told = scaled(cluster, "shop", 3)
    assert told == "New size: 3; reason: Ingress metric hits above target"


def test_an_external_metric_scales_by_the_sum_of_its_series(cluster: Cluster, adapter: Adapter) -> None:
    begin(cluster, "worker")
    adapter.series[f"{EXTERNAL}/namespaces/default/queue_length"] = [
        {"metricName": "queue_length", "metricLabels": {"queue": name}, "timestamp": WHEN, "value": amount}
        for name, amount in (("a", "30"), ("b", "10"))
    ]
    source = {
        "metric": {"name": "queue_length", "selector": {"matchLabels": {"team": "x"}}},
        "target": {"type": "AverageValue", "averageValue": "10"},
    }
    cluster.create(hpa("worker", {"type": "External", "external": source}))
    told = scaled(cluster, "worker", 4)
    selector = "&LabelSelector{MatchLabels:map[string]string{team: x,},MatchExpressions:[]LabelSelectorRequirement{},}"
    assert told == f"New size: 4; reason: external metric queue_length({selector}) above target"
    _, query, user = adapter.asked[-1]
    assert query == {"labelSelector": ["team=x"]}
    assert user == "system:serviceaccount:kube-system:horizontal-pod-autoscaler"


def test_a_metric_that_the_adapter_does_not_know_is_told(cluster: Cluster, adapter: Adapter) -> None:
    begin(cluster, "quiet", 1)
    source = {"metric": {"name": "nothing"}, "target": {"type": "Value", "value": "1"}}
    cluster.create(hpa("quiet", {"type": "External", "external": source}))

    def active() -> Any:
        return conditions.find(cluster.get(HPAS, "quiet"), "ScalingActive")

    cluster.wait(active)
    found = active()
    assert (found["status"], found["reason"]) == ("False", "FailedGetExternalMetric")
    assert found["message"].endswith(
        "unable to fetch metrics from external metrics API: the server could not find the metric nothing"
    )
    assert cluster.get(DEPLOYMENTS, "quiet")["spec"]["replicas"] == 1
