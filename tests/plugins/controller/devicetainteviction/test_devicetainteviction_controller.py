"""In the cases of upstream's device_taint_eviction_test.go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from workload_kit import events, pod

from kubernel.clock import rfc3339
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster
from kubernel_plugins.controller.devicetainteviction.status import Count, told

Obj = dict[str, Any]
CLAIMS = "resourceclaims.v1.resource.k8s.io"
SLICES = "resourceslices.v1.resource.k8s.io"
RULES = "devicetaintrules.v1.resource.k8s.io"
REQUESTS = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.acme.dev"}}]}}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    # Who has a claim reserved is what the tests say.
    controllers = ["*", "-resourceclaim"]
    with Cluster({"plugins": {"scheduler": None, "auth": ["rbac"], "controller": controllers}}) as made:
        yield made


def taint(effect: str = "NoExecute", key: str = "broken") -> Obj:
    return {"key": key, "value": "yes", "effect": effect}


def tolerates(seconds: int | None = None, effect: str = "NoExecute") -> Obj:
    found: Obj = {"key": "broken", "operator": "Exists", "effect": effect}
    return found if seconds is None else {**found, "tolerationSeconds": seconds}


def publish(cluster: Cluster, *taints: Obj, name: str = "slice", generation: int = 1) -> None:
    devices = [{"name": "d1", "taints": list(taints)}, {"name": "d2"}]
    spec = {
        "driver": "acme.dev",
        "nodeName": "node-1",
        "pool": {"name": "p", "generation": generation, "resourceSliceCount": 1},
        "devices": devices,
    }
    cluster.apply(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": name},
            "spec": spec,
        }
    )
    cluster.settle()


def rule(cluster: Cluster, effect: str = "NoExecute", name: str = "rule", **selector: str) -> Obj:
    spec = {"deviceSelector": selector, "taint": taint(effect)}
    frame = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceTaintRule", "metadata": {"name": name}}
    return cluster.create({**frame, "spec": spec})


def user(
    cluster: Cluster, *tolerations: Obj, name: str = "web", device: str = "d1", node: str = "node-1"
) -> None:
    """A pod with a claim that has a device allocated."""
    frame = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name}}
    cluster.create({**frame, "spec": REQUESTS})
    spec: Obj = {"resourceClaims": [{"name": "card", "resourceClaimName": name}]}
    if node:
        spec["nodeName"] = node
    cluster.create(pod(name, **spec))
    result: Obj = {"request": "gpu", "driver": "acme.dev", "pool": "p", "device": device}
    if tolerations:
        result["tolerations"] = list(tolerations)
    consumer = {"resource": "pods", "name": name, "uid": meta.uid(cluster.get("pods", name))}
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [consumer]}
    cluster.patch(CLAIMS, name, {"status": status}, subresource="status")
    cluster.clock.advance(2)


def leaving(cluster: Cluster) -> set[str]:
    """Pods that are going or have gone."""
    there = {meta.name(each) for each in cluster.list("pods", "default") if not meta.is_deleting(each)}
    made = {meta.name(each) for each in cluster.list(CLAIMS, "default")}
    return made - there


def progress(cluster: Cluster, name: str = "rule") -> tuple[str, str, str]:
    found = conditions.find(cluster.get(RULES, name), "EvictionInProgress")
    assert found is not None
    return found["status"], found["reason"], found.get("message", "")


def said(cluster: Cluster) -> list[str]:
    return [event["message"] for event in events(cluster, "DeviceTaintManagerEviction")]


@pytest.mark.parametrize(
    ("taints", "tolerations", "goes"),
    [
        pytest.param([], [], False, id="no-taint"),
        pytest.param([taint()], [], True, id="tainted"),
        pytest.param([taint("NoSchedule")], [], False, id="other-effect"),
        pytest.param([taint("None")], [], False, id="no-effect"),
        pytest.param([taint()], [tolerates()], False, id="tolerated-for-ever"),
        pytest.param([taint()], [tolerates(60)], False, id="tolerated-for-a-while"),
        pytest.param([taint()], [tolerates(effect="NoSchedule")], True, id="other-effect-tolerated"),
        pytest.param([taint(), taint(key="hot")], [tolerates()], True, id="one-of-two-tolerated"),
    ],
)
def test_a_pod_with_a_tainted_device(
    cluster: Cluster, taints: list[Obj], tolerations: list[Obj], goes: bool
) -> None:
    publish(cluster)
    user(cluster, *tolerations)
    publish(cluster, *taints)
    assert leaving(cluster) == ({"web"} if goes else set())


def test_a_pod_whose_device_is_tainted_already_goes(cluster: Cluster) -> None:
    publish(cluster, taint())
    user(cluster)
    assert leaving(cluster) == {"web"}


def test_a_pod_with_another_device_stays(cluster: Cluster) -> None:
    publish(cluster, taint())
    user(cluster, device="d2")
    assert leaving(cluster) == set()


def test_a_pod_that_is_nowhere_stays(cluster: Cluster) -> None:
    publish(cluster, taint())
    user(cluster, node="")
    assert leaving(cluster) == set()


def test_a_pod_for_which_the_claim_is_not_reserved_stays(cluster: Cluster) -> None:
    publish(cluster)
    user(cluster)
    cluster.patch(CLAIMS, "web", {"status": {"reservedFor": None}}, subresource="status")
    publish(cluster, taint())
    assert leaving(cluster) == set()


def test_taints_of_an_older_generation_do_not_count(cluster: Cluster) -> None:
    publish(cluster, taint(), name="old", generation=1)
    publish(cluster, name="new", generation=2)
    user(cluster)
    assert leaving(cluster) == set()
    cluster.delete(SLICES, "new")
    assert leaving(cluster) == {"web"}


def test_a_pod_may_stay_for_as_long_as_its_claim_tolerates_after_the_taint_was_set(cluster: Cluster) -> None:
    publish(cluster, {**taint(), "timeAdded": rfc3339(cluster.clock.time() - 40)})
    user(cluster, tolerates(60))
    cluster.clock.advance(10)
    assert leaving(cluster) == set()
    cluster.clock.advance(15)
    assert leaving(cluster) == {"web"}


def test_a_pod_is_told_that_it_goes_and_why(cluster: Cluster) -> None:
    publish(cluster)
    user(cluster)
    cluster.patch("pods", "web", {"metadata": {"finalizers": ["example.com/hold"]}})
    publish(cluster, taint())
    uid = meta.uid(cluster.get("pods", "web"))
    disrupted = conditions.find(cluster.get("pods", "web"), "DisruptionTarget")
    assert disrupted is not None
    assert (disrupted["status"], disrupted["reason"], disrupted["message"]) == (
        "True",
        "DeletionByDeviceTaintManager",
        "Device Taint manager: deleting due to NoExecute taint",
    )
    (event,) = events(cluster, "DeviceTaintManagerEviction")
    assert (event["type"], event["message"]) == ("Normal", "Marking for deletion")
    assert event["source"] == {"component": "device-taint-eviction-controller"}
    about = {"kind": "Pod", "namespace": "default", "name": "web", "uid": uid, "apiVersion": "v1"}
    assert event["involvedObject"] == about


def test_a_pod_whose_device_is_well_again_stays_and_is_told(cluster: Cluster) -> None:
    publish(cluster, taint())
    user(cluster, tolerates(60))
    publish(cluster)
    cluster.clock.advance("5m")
    assert leaving(cluster) == set()
    assert said(cluster) == ["Cancelling deletion"]


def test_a_deletion_that_fails_is_tried_again(cluster: Cluster) -> None:
    publish(cluster)
    user(cluster)
    cluster.faults.fail_writes("pods", times=3, verbs=["delete"])
    publish(cluster, taint())
    cluster.clock.advance(5)
    assert leaving(cluster) == {"web"}


def test_a_new_controller_goes_on_where_the_old_one_stopped(cluster: Cluster) -> None:
    publish(cluster, taint())
    user(cluster, tolerates(60))
    with cluster.faults.outage("controller", "devicetainteviction"):
        cluster.clock.advance("2m")
    cluster.settle()
    assert leaving(cluster) == {"web"}


# --- rules


@pytest.mark.parametrize(
    ("selector", "goes"),
    [
        ({}, True),
        ({"driver": "acme.dev"}, True),
        ({"driver": "acme.dev", "pool": "p", "device": "d1"}, True),
        ({"driver": "other.dev"}, False),
        ({"pool": "q"}, False),
        ({"device": "d2"}, False),
    ],
)
def test_a_rule_drives_pods_from_the_devices_that_it_selects(
    cluster: Cluster, selector: dict[str, str], goes: bool
) -> None:
    publish(cluster)
    user(cluster)
    rule(cluster, **selector)
    cluster.clock.advance(1)
    assert leaving(cluster) == ({"web"} if goes else set())


def test_a_rule_tells_first_whom_it_will_drive_away_and_then_that_it_has(cluster: Cluster) -> None:
    publish(cluster)
    for name in ("a", "b"):
        user(cluster, tolerates(30), name=name)
    rule(cluster, driver="acme.dev")
    cluster.settle()
    assert progress(cluster) == ("True", "PodsPendingEviction", "2 pods need to be evicted in 1 namespace.")
    cluster.clock.advance("1m")
    assert leaving(cluster) == {"a", "b"}
    assert progress(cluster) == ("False", "Completed", "2 pods evicted since starting the controller.")


def test_a_rule_that_concerns_nobody_has_not_started(cluster: Cluster) -> None:
    rule(cluster)
    cluster.settle()
    assert progress(cluster) == ("False", "NotStarted", "")


def test_a_rule_without_effect_tells_what_it_would_do_and_does_nothing(cluster: Cluster) -> None:
    publish(cluster)
    user(cluster)
    user(cluster, name="other", device="d2")
    rule(cluster, "None", driver="acme.dev", device="d1")
    cluster.clock.advance("1m")
    assert leaving(cluster) == set()
    assert progress(cluster) == (
        "False",
        "NoEffect",
        (
            "1 published device selected. 1 allocated device selected. 1 pod would be evicted in 1 namespace if the "
            "effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger "
            "an update."
        ),
    )


def test_a_rule_of_another_effect_says_that_it_evicts_nobody(cluster: Cluster) -> None:
    publish(cluster)
    user(cluster)
    rule(cluster, "NoSchedule")
    cluster.clock.advance("1m")
    assert leaving(cluster) == set()
    assert progress(cluster) == ("False", "OtherEffect", "Eviction only happens for the NoExecute effect.")


def test_a_rule_that_is_taken_back_drives_nobody_away_any_more(cluster: Cluster) -> None:
    publish(cluster)
    user(cluster, tolerates(60))
    rule(cluster)
    cluster.clock.advance(10)
    cluster.delete(RULES, "rule")
    cluster.clock.advance("2m")
    assert leaving(cluster) == set()
    assert said(cluster) == ["Cancelling deletion"]


def test_a_rule_whose_effect_changes_is_told_of_at_once(cluster: Cluster) -> None:
    publish(cluster)
    user(cluster)
    rule(cluster, "None")
    cluster.settle()
    assert progress(cluster)[1] == "NoEffect"
    cluster.patch(RULES, "rule", {"spec": {"taint": {"effect": "NoExecute"}}})
    cluster.settle()
    assert progress(cluster)[1] == "PodsPendingEviction"
    cluster.clock.advance("1m")
    assert progress(cluster)[1] == "Completed"


@pytest.mark.parametrize(
    ("effect", "count", "expected"),
    [
        (
            "NoExecute",
            Count(1, 1),
            ("True", "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace."),
        ),
        (
            "NoExecute",
            Count(3, 2, evicted=1),
            (
                "True",
                "PodsPendingEviction",
                "3 pods need to be evicted in 2 different namespaces. 1 pod evicted since starting the controller.",
            ),
        ),
        (
            "NoExecute",
            Count(evicted=1),
            ("False", "Completed", "1 pod evicted since starting the controller."),
        ),
        (
            "None",
            Count(published=2),
            (
                "False",
                "NoEffect",
                (
                    "2 published devices selected. 0 allocated devices selected. 0 pods would be evicted in 0 "
                    "different namespaces if the effect was NoExecute. This information will not be updated again. "
                    "Recreate the DeviceTaintRule to trigger an update."
                ),
            ),
        ),
    ],
)
def test_what_a_rule_says(effect: str, count: Count, expected: tuple[str, str, str]) -> None:
    assert told(effect, count) == expected
