from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from workload_kit import PREFIX, condition, deployment, events, pods_of, template

from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

HPAS = "horizontalpodautoscalers.v2.autoscaling"
DEPLOYMENTS = "deployments.v1.apps"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster({"plugins": {"api": ["metrics"]}}) as made:
        yield made


def app(replicas: int = 2, cpu: str = "100m", request: str = "200m", **script: str) -> Any:
    containers = [{"name": "main", "image": "app:1", "resources": {"requests": {"cpu": request}}}]
    made = template({"app": "web"}, {"cpu": cpu, **script}, containers=containers)
    return deployment(replicas=replicas, pod_template=made)


def hpa(low: int = 1, high: int = 10, percent: int = 50, **spec: Any) -> Any:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": low,
            "maxReplicas": high,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            **spec,
        },
    }


def replicas(cluster: Cluster) -> int:
    return int(cluster.get(DEPLOYMENTS, "web")["spec"]["replicas"])


def load(cluster: Cluster, cpu: str) -> None:
    """What each pod uses from now on, and those that come."""
    change = {"metadata": {"annotations": {f"{PREFIX}cpu": cpu}}}
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"paused": True, "template": change}})
    for pod in pods_of(cluster):
        cluster.patch("pods", meta.name(pod), change)


def told(cluster: Cluster, type: str) -> tuple[str, str, str] | None:
    found = conditions.find(cluster.get(HPAS, "web"), type)
    return (found["status"], found["reason"], found["message"]) if found else None


def status(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get(HPAS, "web").get("status") or {}
    return found


def begin(cluster: Cluster, *manifests: Any) -> None:
    """Past the time in which CPU of new pods is start-up."""
    cluster.apply(manifests[0])
    cluster.clock.advance("6m")
    for manifest in manifests[1:]:
        cluster.apply(manifest)


def test_load_above_the_target_adds_replicas(cluster: Cluster) -> None:
    begin(cluster, app(2, "150m"), hpa())
    cluster.clock.advance(20)
    assert replicas(cluster) == 3
    assert told(cluster, "AbleToScale") is not None
    assert [event["message"] for event in events(cluster, "SuccessfulRescale")] == [
        "New size: 3; reason: cpu resource utilization (percentage of request) above target"
    ]
    assert told(cluster, "ScalingActive") == (
        "True",
        "ValidMetricFound",
        (
            "the HPA was able to successfully calculate a replica count from "
            "cpu resource utilization (percentage of request)"
        ),
    )
    current = status(cluster)["currentMetrics"][0]["resource"]["current"]
    assert current == {"averageUtilization": 75, "averageValue": "150m"}
    assert status(cluster)["lastScaleTime"]


def test_within_the_tolerance_nothing_changes(cluster: Cluster) -> None:
    begin(cluster, app(2, "108m"), hpa())
    cluster.clock.advance("10m")
    assert replicas(cluster) == 2
    assert told(cluster, "ScalingLimited") == (
        "False",
        "DesiredWithinRange",
        "the desired count is within the acceptable range",
    )
    assert told(cluster, "AbleToScale") == (
        "True",
        "ReadyForNewScale",
        "recommended size matches current size",
    )


def test_a_behaviour_has_a_tolerance_of_its_own(cluster: Cluster) -> None:
    begin(cluster, app(2, "108m"), hpa(behavior={"scaleUp": {"tolerance": "0.05"}}))
    cluster.clock.advance(20)
    assert replicas(cluster) == 3


def test_it_grows_at_most_twofold_at_a_time(cluster: Cluster) -> None:
    begin(cluster, app(3, "2"), hpa(high=50))
    cluster.clock.advance(1)
    assert replicas(cluster) == 6
    assert told(cluster, "ScalingLimited") == (
        "True",
        "ScaleUpLimit",
        "the desired replica count is increasing faster than the maximum scale rate",
    )


def test_never_more_than_the_maximum(cluster: Cluster) -> None:
    begin(cluster, app(2, "2"), hpa(high=3))
    cluster.clock.advance(20)
    assert replicas(cluster) == 3
    assert told(cluster, "ScalingLimited") == (
        "True",
        "TooManyReplicas",
        "the desired replica count is more than the maximum replica count",
    )


def test_less_load_counts_only_when_it_has_lasted_for_five_minutes(cluster: Cluster) -> None:
    begin(cluster, app(4, "100m"), hpa())
    cluster.clock.advance("1m")
    load(cluster, "10m")
    cluster.clock.advance("4m")
    assert replicas(cluster) == 4
    assert told(cluster, "AbleToScale") == (
        "True",
        "ScaleDownStabilized",
        "recent recommendations were higher than current one, applying the highest recent recommendation",
    )
    cluster.clock.advance("3m")
    assert replicas(cluster) == 1
    assert events(cluster, "SuccessfulRescale")[-1]["message"].endswith("reason: All metrics below target")


def test_a_window_may_be_shorter_or_none_at_all(cluster: Cluster) -> None:
    begin(cluster, app(4, "100m"), hpa(behavior={"scaleDown": {"stabilizationWindowSeconds": 0}}))
    cluster.clock.advance("1m")
    load(cluster, "10m")
    cluster.clock.advance("1m")
    assert replicas(cluster) == 1


def test_growth_may_be_stabilised_too(cluster: Cluster) -> None:
    begin(cluster, app(2, "100m"), hpa(behavior={"scaleUp": {"stabilizationWindowSeconds": 120}}))
    cluster.clock.advance("3m")
    load(cluster, "200m")
    cluster.clock.advance("1m")
    assert replicas(cluster) == 2
    assert told(cluster, "AbleToScale") == (
        "True",
        "ScaleUpStabilized",
        "recent recommendations were lower than current one, applying the lowest recent recommendation",
    )
    cluster.clock.advance("90s")
    assert replicas(cluster) == 4


def test_policies_limit_the_pace(cluster: Cluster) -> None:
    policies = [{"type": "Pods", "value": 2, "periodSeconds": 60}]
    begin(cluster, app(2, "1"), hpa(high=50, behavior={"scaleUp": {"policies": policies}}))
    seen = []
    for _ in range(4):
        cluster.clock.advance(1)
        seen.append(replicas(cluster))
        cluster.clock.advance(60)
    assert seen == [4, 6, 8, 10]


@pytest.mark.parametrize(("select", "after"), [("Max", 8), ("Min", 5), ("Disabled", 4)])
def test_of_several_policies_one_is_selected(cluster: Cluster, select: str, after: int) -> None:
    policies = [
        {"type": "Pods", "value": 1, "periodSeconds": 600},
        {"type": "Percent", "value": 100, "periodSeconds": 600},
    ]
    rules = {"selectPolicy": select, "policies": policies}
    begin(cluster, app(4, "2"), hpa(high=50, behavior={"scaleUp": rules}))
    cluster.clock.advance("2m")
    assert replicas(cluster) == after


def test_cpu_of_pods_that_start_is_no_load(cluster: Cluster) -> None:
    cluster.apply([app(2, "400m", **{"ready-after": "200s"}), hpa()])
    cluster.clock.advance("3m")
    assert replicas(cluster) == 2
    reason = "FailedGetResourceMetric"
    assert told(cluster, "ScalingActive") == (
        "False",
        reason,
        (
            "the HPA was unable to compute the replica count: failed to get cpu utilization: "
            "did not receive metrics for targeted pods (pods might be unready)"
        ),
    )
    cluster.clock.advance("1m")
    assert replicas(cluster) > 2


def test_missing_metrics_count_for_nothing_when_it_grows(cluster: Cluster) -> None:
    begin(cluster, app(4, "150m"))
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}})
    # The newest pod has no sample yet: 600m of 5 * 200m is 60 %, not 75 %.
    cluster.apply(hpa())
    assert status(cluster)["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 75
    assert replicas(cluster) == 6


def test_without_requests_utilization_means_nothing(cluster: Cluster) -> None:
    made = deployment(replicas=1, pod_template=template({"app": "web"}, {"cpu": "1"}))
    begin(cluster, made, hpa())
    (pod,) = pods_of(cluster)
    message = "failed to get cpu utilization: missing request for cpu in container main of Pod " + meta.name(
        pod
    )
    assert events(cluster, "FailedGetResourceMetric")[0]["message"] == message
    assert events(cluster, "FailedComputeMetricsReplicas")[0]["message"] == (
        f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {message}"
    )


def test_an_average_value_needs_no_requests(cluster: Cluster) -> None:
    target = {"type": "AverageValue", "averageValue": "300m"}
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    made = deployment(replicas=2, pod_template=template({"app": "web"}, {"cpu": "450m"}))
    begin(cluster, made, hpa(metrics=metrics))
    cluster.clock.advance(5)
    assert replicas(cluster) == 3
    assert status(cluster)["currentMetrics"][0]["resource"]["current"] == {"averageValue": "450m"}


def test_one_container_may_stand_for_the_pod(cluster: Cluster) -> None:
    containers = [
        {"name": name, "image": "app:1", "resources": {"requests": {"cpu": "100m"}}}
        for name in ("main", "log")
    ]
    script = {"cpu.main": "100m", "cpu.log": "0"}
    made = deployment(replicas=1, pod_template=template({"app": "web"}, script, containers=containers))
    target = {"type": "Utilization", "averageUtilization": 50}
    source = {"name": "cpu", "container": "main", "target": target}
    begin(cluster, made, hpa(metrics=[{"type": "ContainerResource", "containerResource": source}]))
    cluster.clock.advance(5)
    assert replicas(cluster) == 2
    assert "cpu container resource utilization" in events(cluster, "SuccessfulRescale")[0]["message"]


def test_a_target_of_no_replicas_is_left_alone(cluster: Cluster) -> None:
    begin(cluster, app(0), hpa())
    cluster.clock.advance("1m")
    assert replicas(cluster) == 0
    assert told(cluster, "ScalingActive") == (
        "False",
        "ScalingDisabled",
        "scaling is disabled since the replica count of the target is zero",
    )


def test_counts_out_of_the_range_are_brought_into_it_whatever_metrics_say(cluster: Cluster) -> None:
    begin(cluster, app(1, "0"), hpa(low=3))
    cluster.settle()
    assert replicas(cluster) == 3
    assert events(cluster, "SuccessfulRescale")[0]["message"] == (
        "New size: 3; reason: Current number of replicas below Spec.MinReplicas"
    )


def test_a_missing_target_is_told(cluster: Cluster) -> None:
    cluster.apply(hpa())
    assert told(cluster, "AbleToScale") == (
        "False",
        "FailedGetScale",
        'the HPA controller was unable to get the target\'s current scale: deployments.apps "web" not found',
    )


def test_an_unknown_kind_is_told(cluster: Cluster) -> None:
    reference = {"apiVersion": "acme.dev/v1", "kind": "Rocket", "name": "web"}
    cluster.apply(hpa(scaleTargetRef=reference))
    assert events(cluster, "FailedGetScale")[0]["message"] == (
        'no matches for kind "Rocket" in group "acme.dev"'
    )


def test_two_autoscalers_of_the_same_pods_stop_both(cluster: Cluster) -> None:
    other = hpa()
    other["metadata"] = {"name": "other"}
    begin(cluster, app(2, "400m"), hpa())
    cluster.apply(other)
    cluster.clock.advance("1m")
    assert told(cluster, "ScalingActive") == (
        "False",
        "AmbiguousSelector",
        "pods by selector app=web are controlled by multiple HPAs: [default/other default/web]",
    )


def test_without_the_metrics_api_it_says_so() -> None:
    with Cluster() as cluster:
        cluster.apply([app(2), hpa()])
        cluster.settle()
        found = told(cluster, "ScalingActive")
        assert found is not None
        assert found[2].endswith(
            "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: "
            "the server could not find the requested resource (get pods.metrics.k8s.io)"
        )


# --- metrics of other API servers


class Adapter:
    """Answers like an API server that is registered for custom and external metrics."""

    def __init__(self, cluster: Cluster, values: Mapping[str, Any]) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.values = values
        cluster.kernel.hooks.remote_api = self.get  # type: ignore[method-assign]

    def get(self, path: str, user: Any) -> Any:
        parts = urlsplit(path)
        self.asked.append((parts.path, parse_qs(parts.query)))

        async def answer() -> tuple[int, bytes]:
            found = self.values.get(parts.path)
            if found is None:
                return 404, orjson.dumps({"message": "there is no such metric"})
            return 200, orjson.dumps({"items": found})

        return answer()


CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"


def value(amount: str, name: str = "") -> dict[str, Any]:
    about = {"kind": "Pod", "name": name}
    return {"describedObject": about, "value": amount, "timestamp": "2026-01-01T00:00:00Z"}


def test_a_metric_of_the_pods_own(cluster: Cluster) -> None:
    begin(cluster, app(2))
    names = [meta.name(pod) for pod in pods_of(cluster)]
    adapter = Adapter(cluster, {f"{CUSTOM}/pods/*/queue": [value("30", name) for name in names]})
    target = {"type": "AverageValue", "averageValue": "20"}
    metric = {"name": "queue", "selector": {"matchLabels": {"kind": "slow"}}}
    cluster.apply(hpa(metrics=[{"type": "Pods", "pods": {"metric": metric, "target": target}}]))
    assert replicas(cluster) == 3
    assert adapter.asked[0][1] == {"labelSelector": ["app=web"], "metricLabelSelector": ["kind=slow"]}
    assert events(cluster, "SuccessfulRescale")[0]["message"].endswith(
        "reason: pods metric queue above target"
    )


@pytest.mark.parametrize(
    ("target", "after", "current"),
    [
        pytest.param({"type": "Value", "value": "10"}, 6, {"value": "30"}, id="value"),
        pytest.param({"type": "AverageValue", "averageValue": "10"}, 3, {"averageValue": "15"}, id="average"),
    ],
)
def test_a_metric_of_an_object(cluster: Cluster, target: Any, after: int, current: Any) -> None:
    begin(cluster, app(2))
    Adapter(cluster, {f"{CUSTOM}/ingresses.networking.k8s.io/main/hits": [value("30")]})
    about = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main"}
    source = {"describedObject": about, "metric": {"name": "hits"}, "target": target}
    behavior = {"scaleUp": {"policies": [{"type": "Percent", "value": 900, "periodSeconds": 15}]}}
    cluster.apply(hpa(metrics=[{"type": "Object", "object": source}], behavior=behavior))
    assert replicas(cluster) == after
    assert status(cluster)["currentMetrics"][0]["object"]["current"] == current


def test_an_external_metric_is_the_sum_of_its_series(cluster: Cluster) -> None:
    begin(cluster, app(2))
    Adapter(cluster, {f"{EXTERNAL}/jobs": [value("25"), value("10")]})
    source = {"metric": {"name": "jobs"}, "target": {"type": "AverageValue", "averageValue": "10"}}
    cluster.apply(hpa(metrics=[{"type": "External", "external": source}]))
    assert replicas(cluster) == 4
    assert events(cluster, "SuccessfulRescale")[0]["message"] == (
        "New size: 4; reason: external metric jobs(nil) above target"
    )


@pytest.mark.parametrize(
    "target",
    [
        pytest.param({"type": "AverageValue", "averageValue": "10"}, id="average"),
        pytest.param({"type": "Value", "value": "10"}, id="value"),
    ],
)
def test_it_goes_to_nought_and_comes_back_from_there(cluster: Cluster, target: Any) -> None:
    begin(cluster, app(2))
    jobs = [value("0")]
    Adapter(cluster, {f"{EXTERNAL}/jobs": jobs})
    source = {"metric": {"name": "jobs"}, "target": target}
    cluster.apply(hpa(low=0, metrics=[{"type": "External", "external": source}]))
    cluster.clock.advance("6m")
    assert replicas(cluster) == 0
    assert told(cluster, "ScaledToZero") == (
        "True",
        "ScaledToZero",
        "the HPA controller scaled the workload to zero",
    )
    assert "currentReplicas" not in status(cluster)
    jobs[:] = [value("25")]
    assert cluster.wait(lambda: replicas(cluster)) == 3
    cluster.settle()
    assert told(cluster, "ScaledToZero") == (
        "False",
        "NotScaledToZero",
        "the HPA controller did not scale the workload to zero",
    )


def test_a_larger_minimum_ends_its_own_nought_but_not_somebody_elses(cluster: Cluster) -> None:
    begin(cluster, app(2))
    Adapter(cluster, {f"{EXTERNAL}/jobs": [value("0")]})
    source = {"metric": {"name": "jobs"}, "target": {"type": "Value", "value": "10"}}
    cluster.apply(hpa(low=0, metrics=[{"type": "External", "external": source}]))
    cluster.clock.advance("6m")
    assert replicas(cluster) == 0
    cluster.patch(HPAS, "web", {"spec": {"minReplicas": 2}})
    cluster.clock.advance(30)
    assert replicas(cluster) == 2
    assert told(cluster, "ScaledToZero")[0] == "False"  # type: ignore[index]
    cluster.patch("deployments.v1.apps", "web", {"spec": {"replicas": 0}})
    cluster.clock.advance("2m")
    assert replicas(cluster) == 0
    assert told(cluster, "ScalingActive")[1] == "ScalingDisabled"  # type: ignore[index]


def test_a_failing_metric_does_not_keep_another_from_growing_but_from_shrinking(cluster: Cluster) -> None:
    begin(cluster, app(2, "200m"))
    Adapter(cluster, {})
    broken = {"metric": {"name": "jobs"}, "target": {"type": "Value", "value": "10"}}
    both = [*hpa()["spec"]["metrics"], {"type": "External", "external": broken}]
    cluster.apply(hpa(metrics=both, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}}))
    cluster.clock.advance(5)
    assert replicas(cluster) == 4
    assert condition(cluster, HPAS, "ScalingActive") == ("True", "ValidMetricFound")
    load(cluster, "1m")
    cluster.clock.advance("10m")
    assert replicas(cluster) == 4
    assert told(cluster, "ScalingActive") == (
        "False",
        "FailedGetExternalMetric",
        (
            "the HPA was unable to compute the replica count: "
            "unable to get external metric default/jobs/nil: "
            "unable to fetch metrics from external metrics API: there is no such metric"
        ),
    )


def test_without_a_custom_metrics_api_it_says_so(cluster: Cluster) -> None:
    begin(cluster, app(2))
    target = {"type": "AverageValue", "averageValue": "20"}
    cluster.apply(hpa(metrics=[{"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": target}}]))
    assert events(cluster, "FailedGetPodsMetric")[0]["message"] == (
        "unable to get metric queue: unable to fetch metrics from custom metrics API: "
        "no custom metrics API (custom.metrics.k8s.io) registered"
    )
