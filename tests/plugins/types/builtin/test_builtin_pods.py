"""Pods as clients see them change."""

from __future__ import annotations

from typing import Any

import pytest
from builtin_kit import Cluster, pod, run

from kubernel.errors import Conflict, Invalid, NotFound, TooManyRequests
from kubernel_plugins.api.builtin.strategies.pod_defaults import image_tag
from kubernel_plugins.api.builtin.strategies.qos import qos_class


def test_a_new_pod_is_pending_and_filled_in() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(pod(serviceAccount="robot") | {"status": {"phase": "Running"}})
        assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
        assert created["metadata"]["generation"] == 1
        spec = created["spec"]
        assert spec["serviceAccountName"] == "robot"
        assert spec["enableServiceLinks"] is True
        assert {key: spec[key] for key in ("dnsPolicy", "restartPolicy", "schedulerName")} == {
            "dnsPolicy": "ClusterFirst",
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
        }
        assert (spec["terminationGracePeriodSeconds"], spec["securityContext"]) == (30, {})
        assert spec["containers"] == [
            {
                "name": "main",
                "image": "nginx",
                "imagePullPolicy": "Always",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ]

    run(test)


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("nginx", "latest"),
        ("nginx:latest", "latest"),
        ("nginx:1.27", "1.27"),
        ("reg:5000/nginx", "latest"),
        ("reg:5000/nginx:2", "2"),
        ("nginx@sha256:abc", ""),
    ],
)
def test_the_tag_decides_whether_an_image_is_always_pulled(image: str, tag: str) -> None:
    assert image_tag(image) == tag


def test_defaults_of_what_a_container_holds() -> None:
    async def test(cluster: Cluster) -> None:
        container = {
            "name": "main",
            "image": "nginx:1",
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 0},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        }
        volumes: list[dict[str, Any]] = [
            {"name": "a"},
            {"name": "b", "secret": {"secretName": "s"}},
            {"name": "c", "hostPath": {"path": "/x"}},
        ]
        created = await cluster.create(pod(containers=[container], volumes=volumes, hostNetwork=True))
        made = created["spec"]["containers"][0]
        assert made["imagePullPolicy"] == "IfNotPresent"
        assert made["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
        assert made["readinessProbe"] == {
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        }
        assert made["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
        assert made["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}
        assert created["status"]["qosClass"] == "Guaranteed"
        assert created["spec"]["volumes"] == [
            {"name": "a", "emptyDir": {}},
            {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}},
            {"name": "c", "hostPath": {"path": "/x", "type": ""}},
        ]

    run(test)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param([None], "BestEffort", id="nothing"),
        pytest.param([{"requests": {"cpu": "0"}}], "BestEffort", id="zero"),
        pytest.param([{"requests": {"cpu": "1"}}], "Burstable", id="requests"),
        pytest.param([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed", id="limits"),
        pytest.param(
            [{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}],
            "Guaranteed",
            id="equal-quantities",
        ),
        pytest.param([{"limits": {"cpu": "1", "memory": "1Gi"}}, None], "Burstable", id="one-without"),
    ],
)
def test_quality_of_service(resources: list[Any], expected: str) -> None:
    containers = [{"name": f"c{i}", "resources": one} for i, one in enumerate(resources)]
    assert qos_class({"spec": {"containers": containers}}) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"containers": []}, "spec.containers: Required value", id="no-containers"),
        pytest.param(
            {"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]},
            'spec.containers[1].name: Duplicate value: "a"',
            id="duplicate-name",
        ),
        pytest.param(
            {"containers": [{"name": "a"}]}, "spec.containers[0].image: Required value", id="no-image"
        ),
        pytest.param(
            {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 70000}]}]},
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, "
            "inclusive",
            id="port-range",
        ),
        pytest.param(
            {"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
            id="mount-without-volume",
        ),
        pytest.param(
            {"containers": [{"name": "a", "image": "x", "env": [{"name": "a=b"}]}]},
            'spec.containers[0].env[0].name: Invalid value: "a=b"',
            id="environment-name",
        ),
        pytest.param(
            {"containers": [{"name": "a", "image": "x", "livenessProbe": {"periodSeconds": 3}}]},
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            id="probe-without-handler",
        ),
        pytest.param(
            {
                "containers": [
                    {
                        "name": "a",
                        "image": "x",
                        "livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2},
                    }
                ]
            },
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            id="liveness-threshold",
        ),
        pytest.param(
            {
                "containers": [
                    {
                        "name": "a",
                        "image": "x",
                        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
                    }
                ]
            },
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu '
            "limit of 1",
            id="request-above-limit",
        ),
        pytest.param(
            {"restartPolicy": "Sometimes"},
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", '
            '"OnFailure", "Never"',
            id="restart-policy",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]},
            'spec.volumes[1].name: Duplicate value: "v"',
            id="duplicate-volume",
        ),
    ],
)
def test_a_wrong_pod_is_refused_in_upstreams_words(spec: dict[str, Any], message: str) -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid) as refused:
            await cluster.create(pod(**spec))
        assert message in refused.value.message
        assert refused.value.causes
        with pytest.raises(NotFound):
            cluster.get("pods", "web")

    run(test)


def test_each_problem_is_told_once() -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid) as refused:
            await cluster.create(pod(containers=[{"name": "", "image": "x"}]))
        fields = [cause.field for cause in refused.value.causes]
        assert fields == ["spec.containers[0].name"]

    run(test)


async def _scheduled(cluster: Cluster, **spec: Any) -> dict[str, Any]:
    await cluster.create(pod(**spec))
    await cluster.post("pods", "web", "binding", binding())
    return cluster.get("pods", "web")


def binding(node: str = "n1") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "web"},
        "target": {"kind": "Node", "name": node},
    }


def test_binding_puts_the_pod_on_its_node() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(pod())
        answer = await cluster.post("pods", "web", "binding", binding())
        assert answer.obj is not None
        assert answer.obj["status"] == "Success"
        bound = cluster.get("pods", "web")
        assert bound["spec"]["nodeName"] == "n1"
        assert bound["metadata"]["generation"] == 1
        condition = bound["status"]["conditions"][0]
        assert (condition["type"], condition["status"]) == ("PodScheduled", "True")

    run(test)


def test_a_pod_is_bound_once() -> None:
    async def test(cluster: Cluster) -> None:
        await _scheduled(cluster)
        with pytest.raises(Conflict, match='pod web is already assigned to node "n1"'):
            await cluster.post("pods", "web", "binding", binding("n2"))
        assert cluster.get("pods", "web")["spec"]["nodeName"] == "n1"

    run(test)


def test_a_gated_pod_cannot_be_bound() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(pod(schedulingGates=[{"name": "example.com/wait"}]))
        assert created["status"]["conditions"][0]["reason"] == "SchedulingGated"
        with pytest.raises(Conflict, match=r"has non-empty .spec.schedulingGates"):
            await cluster.post("pods", "web", "binding", binding())

    run(test)


@pytest.mark.parametrize(
    ("change", "generation"),
    [
        pytest.param(lambda p: p["spec"]["containers"][0].update(image="nginx:2"), 2, id="image"),
        pytest.param(lambda p: p["spec"].update(activeDeadlineSeconds=5), 2, id="deadline"),
        pytest.param(
            lambda p: p["spec"].update(tolerations=[{"key": "a", "operator": "Exists"}]), 2, id="toleration"
        ),
        pytest.param(lambda p: p["metadata"].update(annotations={"a": "b"}), 1, id="annotation"),
        pytest.param(lambda p: p["metadata"].update(generation=77), 1, id="generation-sent-by-client"),
        pytest.param(lambda p: p["status"].update(phase="Running"), 1, id="status"),
    ],
)
def test_generation_counts_changes_of_the_spec(change: Any, generation: int) -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(pod())
        change(obj)
        updated = await cluster.update(obj)
        assert updated["metadata"]["generation"] == generation
        assert updated["status"]["phase"] == "Pending"

    run(test)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: p["spec"].update(hostname="x"), id="hostname"),
        pytest.param(lambda p: p["spec"].update(nodeName="n2"), id="node"),
        pytest.param(lambda p: p["spec"]["containers"][0].update(command=["a"]), id="command"),
        pytest.param(lambda p: p["spec"].update(terminationGracePeriodSeconds=3), id="grace"),
    ],
)
def test_the_rest_of_a_pods_spec_is_immutable(change: Any) -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(pod())
        change(obj)
        with pytest.raises(Invalid) as refused:
            await cluster.update(obj)
        assert "spec: Forbidden: pod updates may not change fields other than" in refused.value.message

    run(test)


def test_containers_cannot_be_added() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(pod())
        obj["spec"]["containers"].append({"name": "b", "image": "x"})
        with pytest.raises(Invalid, match="pod updates may not add or remove containers"):
            await cluster.update(obj)

    run(test)


def test_the_status_endpoint_writes_status_and_labels_only() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(pod())
        obj["spec"]["hostname"] = "other"
        obj["metadata"]["labels"] = {"seen": "yes"}
        obj["status"] = {"phase": "Running"}
        updated = await cluster.update(obj, "status")
        assert "hostname" not in updated["spec"]
        assert updated["metadata"]["labels"] == {"seen": "yes"}
        assert updated["status"] == {"phase": "Running", "qosClass": "BestEffort"}

    run(test)


def test_an_unscheduled_pod_goes_at_once() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(pod())
        await cluster.delete("pods", "web")
        with pytest.raises(NotFound):
            cluster.get("pods", "web")

    run(test)


@pytest.mark.parametrize(
    ("options", "grace"),
    [
        pytest.param({}, 30, id="the-pods-own"),
        pytest.param({"grace_period": 5}, 5, id="as-asked"),
        pytest.param({"grace_period": -1}, 1, id="negative"),
    ],
)
def test_a_scheduled_pod_gets_its_grace_period(options: dict[str, int], grace: int) -> None:
    async def test(cluster: Cluster) -> None:
        await _scheduled(cluster)
        await cluster.delete("pods", "web", **options)
        meta = cluster.get("pods", "web")["metadata"]
        assert meta["deletionGracePeriodSeconds"] == grace
        assert meta["generation"] == 2
        await cluster.delete("pods", "web", grace_period=0)
        with pytest.raises(NotFound):
            cluster.get("pods", "web")

    run(test)


def test_a_finished_pod_goes_at_once() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await _scheduled(cluster)
        obj["status"]["phase"] = "Succeeded"
        await cluster.update(obj, "status")
        await cluster.delete("pods", "web")
        with pytest.raises(NotFound):
            cluster.get("pods", "web")

    run(test)


def budget(allowed: int) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "guard", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": allowed, "observedGeneration": 1, "desiredHealthy": 1},
    }


EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}}


async def _running(cluster: Cluster, allowed: int) -> None:
    obj = pod()
    obj["metadata"]["labels"] = {"app": "web"}
    await cluster.create(obj)
    await cluster.post("pods", "web", "binding", binding())
    live = cluster.get("pods", "web")
    live["status"]["phase"] = "Running"
    live["status"]["conditions"].append({"type": "Ready", "status": "True"})
    await cluster.update(live, "status")
    made = await cluster.create(budget(allowed))
    made["status"] = budget(allowed)["status"]
    await cluster.update(made, "status")


def test_eviction_asks_the_disruption_budget() -> None:
    async def test(cluster: Cluster) -> None:
        await _running(cluster, 0)
        with pytest.raises(TooManyRequests) as refused:
            await cluster.post("pods", "web", "eviction", EVICTION)
        assert refused.value.causes[0].reason == "DisruptionBudget"
        assert "deletionTimestamp" not in cluster.get("pods", "web")["metadata"]

    run(test)


def test_eviction_spends_the_budget_and_marks_the_pod() -> None:
    async def test(cluster: Cluster) -> None:
        await _running(cluster, 1)
        await cluster.post("pods", "web", "eviction", EVICTION)
        gone = cluster.get("pods", "web")
        assert gone["metadata"]["deletionTimestamp"]
        reasons = {one["type"]: one.get("reason") for one in gone["status"]["conditions"]}
        assert reasons["DisruptionTarget"] == "EvictionByEvictionAPI"
        status = cluster.get("poddisruptionbudgets", "guard", "policy")["status"]
        assert status["disruptionsAllowed"] == 0
        assert list(status["disruptedPods"]) == ["web"]

    run(test)


@pytest.mark.parametrize(
    ("preconditions", "why"),
    [
        pytest.param({"resourceVersion": "1"}, "the ResourceVersion in the precondition (1)", id="version"),
        pytest.param({"uid": "another"}, "the UID in the precondition (another)", id="uid"),
    ],
)
def test_eviction_of_another_state_of_the_pod_is_refused(preconditions: dict[str, str], why: str) -> None:
    async def test(cluster: Cluster) -> None:
        await _running(cluster, 1)
        asked = {**EVICTION, "deleteOptions": {"preconditions": preconditions}}
        with pytest.raises(Conflict) as refused:
            await cluster.post("pods", "web", "eviction", asked)
        assert why in refused.value.message
        pod = cluster.get("pods", "web")
        assert "deletionTimestamp" not in pod["metadata"]
        assert "DisruptionTarget" not in {one["type"] for one in pod["status"].get("conditions") or ()}

    run(test)


def test_eviction_of_just_this_state_of_the_pod_is_done() -> None:
    async def test(cluster: Cluster) -> None:
        await _running(cluster, 1)
        version = cluster.get("pods", "web")["metadata"]["resourceVersion"]
        asked = {**EVICTION, "deleteOptions": {"preconditions": {"resourceVersion": version}}}
        await cluster.post("pods", "web", "eviction", asked)
        assert cluster.get("pods", "web")["metadata"]["deletionTimestamp"]

    run(test)


def test_ephemeral_containers_are_added_through_their_own_endpoint() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(pod())
        obj["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "busybox:1"}]
        updated = await cluster.update(obj, "ephemeralcontainers")
        assert updated["spec"]["ephemeralContainers"][0]["imagePullPolicy"] == "IfNotPresent"
        assert updated["metadata"]["generation"] == 2
        updated["spec"]["ephemeralContainers"] = []
        with pytest.raises(Invalid, match="may not be removed"):
            await cluster.update(updated, "ephemeralcontainers")

    run(test)


def test_resize_changes_cpu_and_memory_and_nothing_else() -> None:
    async def test(cluster: Cluster) -> None:
        resources = {"requests": {"cpu": "1"}}
        obj = await cluster.create(pod(containers=[{"name": "main", "image": "x", "resources": resources}]))
        obj["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "2"}}
        updated = await cluster.update(obj, "resize")
        assert updated["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "2"}
        assert updated["metadata"]["generation"] == 2
        updated["spec"]["hostname"] = "x"
        updated["spec"]["containers"][0]["image"] = "y"
        updated["metadata"]["labels"] = {"a": "b"}
        again = await cluster.update(updated, "resize")
        assert "hostname" not in again["spec"]
        assert again["spec"]["containers"][0]["image"] == "x"
        assert "labels" not in again["metadata"]
        updated["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] = "1Gi"
        with pytest.raises(Invalid, match="only cpu and memory resources are mutable"):
            await cluster.update(updated | {"metadata": again["metadata"]}, "resize")

    run(test)
