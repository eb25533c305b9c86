"""Deployments and their kin, jobs, scale and autoscaling."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from builtin_kit import OPTIONS, USER, Cluster, run, workload

from kubernel.errors import Invalid
from kubernel_plugins.api.builtin.strategies.autoscaling import from_v2, to_v2


def job(name: str = "sum", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "template": {
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x:1"}]}
            },
            **spec,
        },
    }


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        pytest.param("Deployment", {}, id="Deployment"),
        pytest.param("ReplicaSet", {"replicas": 0}, id="ReplicaSet"),
        pytest.param(
            "DaemonSet",
            {
                "currentNumberScheduled": 0,
                "numberMisscheduled": 0,
                "desiredNumberScheduled": 0,
                "numberReady": 0,
            },
            id="DaemonSet",
        ),
    ],
)
def test_the_status_is_there_before_its_controller_writes(kind: str, status: dict[str, Any]) -> None:
    async def test(cluster: Cluster) -> None:
        sent = {**workload(kind), "status": {"replicas": 7}}
        assert (await cluster.create(sent))["status"] == status

    run(test)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(
            "Deployment",
            {
                "replicas": 1,
                "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
                },
            },
            id="deployment",
        ),
        pytest.param("ReplicaSet", {"replicas": 1}, id="replicaset"),
        pytest.param(
            "StatefulSet",
            {
                "replicas": 1,
                "revisionHistoryLimit": 10,
                "podManagementPolicy": "OrderedReady",
                "updateStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"partition": 0, "maxUnavailable": 1},
                },
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            },
            id="statefulset",
        ),
        pytest.param(
            "DaemonSet",
            {
                "revisionHistoryLimit": 10,
                "updateStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
                },
            },
            id="daemonset",
        ),
    ],
)
def test_defaults(kind: str, expected: dict[str, Any]) -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(workload(kind))
        assert {key: created["spec"].get(key) for key in expected} == expected
        template = created["spec"]["template"]["spec"]
        assert template["restartPolicy"] == "Always"
        assert template["containers"][0]["imagePullPolicy"] == "IfNotPresent"
        assert "enableServiceLinks" not in template
        assert created["metadata"]["generation"] == 1

    run(test)


def test_recreate_has_no_rolling_update() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(workload("Deployment", strategy={"type": "Recreate"}))
        assert created["spec"]["strategy"] == {"type": "Recreate"}

    run(test)


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        pytest.param("Deployment", {"selector": None}, "spec.selector: Required value", id="no-selector"),
        pytest.param(
            "Deployment",
            {"selector": {}},
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            id="empty-selector",
        ),
        pytest.param(
            "StatefulSet",
            {"selector": {"matchLabels": {"app": "other"}}},
            'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template '
            "`labels`",
            id="selector-of-others",
        ),
        pytest.param(
            "Deployment",
            {"replicas": -1},
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            id="negative",
        ),
        pytest.param(
            "Deployment",
            {
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]},
                }
            },
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
            id="restart-policy",
        ),
        pytest.param(
            "Deployment",
            {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            id="no-room",
        ),
        pytest.param(
            "Deployment",
            {"strategy": {"rollingUpdate": {"maxSurge": "many"}}},
            'spec.strategy.rollingUpdate.maxSurge: Invalid value: "many": a valid percent string',
            id="percent",
        ),
    ],
)
def test_wrong_ones_are_refused(kind: str, spec: dict[str, Any], message: str) -> None:
    async def test(cluster: Cluster) -> None:
        obj = workload(kind, **spec)
        obj["spec"] = {key: value for key, value in obj["spec"].items() if value is not None}
        with pytest.raises(Invalid) as refused:
            await cluster.create(obj)
        assert message in refused.value.message

    run(test)


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet"])
def test_a_selector_is_immutable(kind: str) -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(workload(kind))
        obj["spec"]["selector"]["matchLabels"]["tier"] = "a"
        obj["spec"]["template"]["metadata"]["labels"]["tier"] = "a"
        with pytest.raises(Invalid, match=r"spec.selector: Invalid value: .*: field is immutable"):
            await cluster.update(obj)

    run(test)


def test_a_statefulsets_service_stays() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(workload("StatefulSet"))
        obj["spec"]["serviceName"] = "other"
        with pytest.raises(Invalid, match=r"spec.serviceName: Invalid value: .* field is immutable"):
            await cluster.update(obj)

    run(test)


def test_generation_follows_the_spec_and_a_deployments_annotations() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(workload("Deployment"))
        obj["metadata"]["labels"] = {"a": "b"}
        obj = await cluster.update(obj)
        assert obj["metadata"]["generation"] == 1
        obj["metadata"]["annotations"] = {"a": "b"}
        obj = await cluster.update(obj)
        assert obj["metadata"]["generation"] == 2
        obj["spec"]["replicas"] = 4
        obj = await cluster.update(obj)
        assert obj["metadata"]["generation"] == 3
        obj["status"] = {"replicas": 4}
        obj = await cluster.update(obj, "status")
        assert (obj["metadata"]["generation"], obj["status"]) == (3, {"replicas": 4})

    run(test)


@pytest.mark.parametrize(
    ("plural", "group", "kind"),
    [
        ("deployments", "apps", "Deployment"),
        ("replicasets", "apps", "ReplicaSet"),
        ("statefulsets", "apps", "StatefulSet"),
    ],
)
def test_scale_shows_and_sets_replicas(plural: str, group: str, kind: str) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(workload(kind))
        type = cluster.type(plural, group)
        _, scale = await cluster.registry.get_subresource(type, "default", "web", "scale")
        assert scale is not None
        assert (scale["kind"], scale["spec"], scale["status"]) == (
            "Scale",
            {"replicas": 1},
            {"replicas": 0, "selector": "app=web"},
        )
        result = await cluster.registry.update(
            USER, type, "default", "web", {**scale, "spec": {"replicas": 5}}, OPTIONS, subresource="scale"
        )
        assert result.obj is not None
        assert result.obj["spec"] == {"replicas": 5}
        live = cluster.get(plural, "web", group)
        assert (live["spec"]["replicas"], live["metadata"]["generation"]) == (5, 2)
        with pytest.raises(Invalid, match="must be greater than or equal to 0"):
            await cluster.registry.patch(
                USER,
                type,
                "default",
                "web",
                "merge",
                {"spec": {"replicas": -1}},
                OPTIONS,
                subresource="scale",
            )

    run(test)


def test_a_job_selects_its_pods_by_its_uid() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(job())
        uid = created["metadata"]["uid"]
        spec = created["spec"]
        assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        assert spec["template"]["metadata"]["labels"] == {
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": "sum",
            "controller-uid": uid,
            "job-name": "sum",
        }
        assert {
            key: spec[key] for key in ("completions", "parallelism", "backoffLimit", "completionMode")
        } == {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 6,
            "completionMode": "NonIndexed",
        }
        assert (spec["suspend"], spec["podReplacementPolicy"]) == (False, "TerminatingOrFailed")

    run(test)


def test_a_generated_selector_cannot_be_chosen() -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid, match="`selector` not auto-generated"):
            await cluster.create(
                job(selector={"matchLabels": {"batch.kubernetes.io/controller-uid": "someone-else"}})
            )

    run(test)


def test_a_manual_selector_must_match() -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid, match="`selector` does not match template `labels`"):
            await cluster.create(job(manualSelector=True, selector={"matchLabels": {"a": "b"}}))

    run(test)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"completions": 3}, "spec.completions", id="completions"),
        pytest.param({"completionMode": "Indexed"}, "spec.completionMode", id="mode"),
        pytest.param({"template": {}}, "spec.template", id="template"),
    ],
)
def test_what_a_job_cannot_change(change: dict[str, Any], field: str) -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(job())
        for key, value in change.items():
            if key == "template":
                obj["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
            else:
                obj["spec"][key] = value
        with pytest.raises(Invalid) as refused:
            await cluster.update(obj)
        assert any(cause.field == field for cause in refused.value.causes)
        assert "field is immutable" in refused.value.message

    run(test)


def test_parallelism_may_change_and_restart_always_is_refused() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(job())
        obj["spec"]["parallelism"] = 4
        assert (await cluster.update(obj))["metadata"]["generation"] == 2
        wrong = job("other")
        wrong["spec"]["template"]["spec"].pop("restartPolicy")
        with pytest.raises(
            Invalid, match='restartPolicy: Required value: valid values: "OnFailure", "Never"'
        ):
            await cluster.create(wrong)

    run(test)


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("*/5 * * * *", ""),
        ("@hourly", ""),
        ("@every 5m", ""),
        ("* * *", "expected exactly 5 fields, found 3"),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
        ("TZ=UTC * * * * *", "cannot use TZ or CRON_TZ in schedule"),
        ("", "Required value"),
    ],
)
def test_cron_schedules(schedule: str, problem: str) -> None:
    async def test(cluster: Cluster) -> None:
        obj = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "tick", "namespace": "default"},
            "spec": {"schedule": schedule, "jobTemplate": {"spec": job()["spec"]}},
        }
        if problem:
            with pytest.raises(Invalid) as refused:
                await cluster.create(obj)
            assert problem in refused.value.message
            return
        spec = (await cluster.create(obj))["spec"]
        assert (spec["concurrencyPolicy"], spec["suspend"]) == ("Allow", False)
        assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 1)
        assert "completions" not in spec["jobTemplate"]["spec"]

    run(test)


def test_a_replication_controller_takes_its_templates_labels() -> None:
    async def test(cluster: Cluster) -> None:
        obj = workload("ReplicationController") | {"apiVersion": "v1"}
        del obj["spec"]["selector"]
        created = await cluster.create(obj)
        assert created["spec"]["selector"] == {"app": "web"}
        assert created["metadata"]["labels"] == {"app": "web"}
        type = cluster.type("replicationcontrollers")
        _, scale = await cluster.registry.get_subresource(type, "default", "web", "scale")
        assert scale is not None
        assert scale["status"]["selector"] == "app=web"

    run(test)


def hpa_v2() -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "maxReplicas": 5,
            "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"},
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "rps"},
                        "target": {"type": "AverageValue", "averageValue": "9"},
                    },
                },
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
                },
            ],
            "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
        },
    }


def test_an_autoscaler_is_spoken_in_both_versions() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(hpa_v2())
        assert created["spec"]["minReplicas"] == 1
        v1 = cluster.type("horizontalpodautoscalers", "autoscaling", "v1")
        assert v1.resource == cluster.type("horizontalpodautoscalers", "autoscaling", "v2").resource
        shown = from_v2(created)
        assert shown["apiVersion"] == "autoscaling/v1"
        assert shown["spec"]["targetCPUUtilizationPercentage"] == 60
        assert "metrics" not in shown["spec"]
        back = to_v2(shown)
        assert sorted(back["spec"]["metrics"], key=str) == sorted(created["spec"]["metrics"], key=str)
        assert back["spec"]["behavior"] == created["spec"]["behavior"]
        assert back["metadata"] == created["metadata"]

    run(test)


def test_an_autoscaler_created_in_v1_is_kept_in_v2() -> None:
    async def test(cluster: Cluster) -> None:
        obj = hpa_v2() | {"apiVersion": "autoscaling/v1"}
        obj["spec"] = {
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 50,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        }
        stored = await cluster.create(obj)
        assert stored["apiVersion"] == "autoscaling/v2"
        v1 = cluster.type("horizontalpodautoscalers", "autoscaling", "v1")
        shown = orjson.loads(cluster.registry.encode(cluster.registry.get(v1, "default", "web"), v1))
        assert shown["apiVersion"] == "autoscaling/v1"
        assert shown["spec"]["targetCPUUtilizationPercentage"] == 50
        assert "metrics" not in shown["spec"]
        assert stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50

    run(test)


def test_autoscaler_limits() -> None:
    async def test(cluster: Cluster) -> None:
        obj = hpa_v2()
        obj["spec"]["minReplicas"] = 9
        with pytest.raises(Invalid, match="must be greater than or equal to `minReplicas`"):
            await cluster.create(obj)

    run(test)
