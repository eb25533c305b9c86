"""Which changes wake a pod that a policy refused: the hints of k8s.io/kubernetes/pkg/scheduler/framework/plugins,
interpodaffinity/plugin.go and podtopologyspread/plugin.go (v1.37), case by case."""

from __future__ import annotations

from typing import Any

import pytest
from scheduling_kit import Objects, node, pod, started, table

from kubernel.plugin.scheduling import Change
from kubernel_plugins.scheduler_policy.inter_pod_affinity.policy import InterPodAffinity
from kubernel_plugins.scheduler_policy.pod_topology_spread.policy import PodTopologySpread

Obj = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
WEB, DB = {"app": "web"}, {"app": "db"}


def terms(kind: str, labels: Obj) -> Obj:
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "zone"}
    return {"affinity": {kind: {REQUIRED: [term]}}}


def there(labels: Obj, namespace: str = "default", **spec: Any) -> Obj:
    found: Obj = pod(labels=labels, namespace=namespace, nodeName="n", **spec).pod
    return found


def came(obj: Obj) -> Change:
    return Change("nodes" if "status" in obj else "pods", "ADDED", obj)


def went(obj: Obj) -> Change:
    return Change("nodes" if "status" in obj else "pods", "DELETED", obj, obj)


def became(before: Obj, after: Obj) -> Change:
    return Change("nodes" if "status" in after else "pods", "MODIFIED", after, before)


def in_zone(zone: str = "", **more: Any) -> Obj:
    return node("n", labels={"zone": zone} if zone else {}, **more)


NEAR, AWAY = terms("podAffinity", WEB), terms("podAntiAffinity", WEB)
TAINT = [{"key": "k", "effect": "NoSchedule"}]


@pytest.mark.parametrize(
    ("wishes", "change", "wakes"),
    [
        pytest.param(NEAR, came(there(WEB)), True, id="who-is-wanted-came"),
        pytest.param(NEAR, came(there(DB)), False, id="another-came"),
        pytest.param(NEAR, came(there(WEB, "other")), False, id="one-of-another-namespace-came"),
        pytest.param(NEAR, became(there(DB), there(WEB)), True, id="one-became-who-is-wanted"),
        pytest.param(NEAR, became(there(WEB), there(WEB)), False, id="who-is-wanted-was-before"),
        pytest.param(NEAR, went(there(WEB)), False, id="who-is-wanted-went"),
        pytest.param(AWAY, came(there(WEB)), False, id="who-is-not-wanted-came"),
        pytest.param(AWAY, went(there(WEB)), True, id="who-is-not-wanted-went"),
        pytest.param(AWAY, went(there(DB)), False, id="another-went"),
        pytest.param(AWAY, became(there(WEB), there(DB)), True, id="who-is-not-wanted-is-another-now"),
        pytest.param({}, went(there(DB, **terms("podAntiAffinity", WEB))), True, id="who-kept-it-away-went"),
        pytest.param(
            {}, went(there(DB, **terms("podAntiAffinity", DB))), False, id="who-kept-others-away-went"
        ),
        pytest.param(NEAR, came(in_zone("a")), True, id="a-node-in-a-domain-came"),
        pytest.param(NEAR, came(in_zone()), False, id="a-node-in-no-domain-came"),
        pytest.param(NEAR, became(in_zone("a"), in_zone("b")), True, id="a-node-is-in-another-domain"),
        pytest.param(NEAR, became(in_zone("a"), in_zone()), False, id="a-node-left-its-domain"),
        pytest.param(NEAR, became(in_zone("a"), in_zone("a", cpu="9")), False, id="a-node-grew"),
        pytest.param(AWAY, came(in_zone()), True, id="any-node-came-for-who-wants-to-be-alone"),
        pytest.param(AWAY, became(in_zone("a"), in_zone()), True, id="a-node-left-the-domain-of-others"),
        pytest.param(AWAY, became(in_zone(), in_zone("a")), False, id="a-node-came-into-a-domain"),
        pytest.param(NEAR, went(in_zone("a")), False, id="a-node-went"),
    ],
)
def test_what_wakes_a_pod_that_affinity_refused(wishes: Obj, change: Change, wakes: bool) -> None:
    policy = started(InterPodAffinity, table(), {}, {"namespaces": Objects()})
    assert policy.helps(pod(labels=WEB, **wishes), change) is wakes


@pytest.mark.parametrize(
    ("change", "wakes"),
    [
        pytest.param(came(there(WEB)), True, id="one-that-counts-came"),
        pytest.param(came(there(DB)), False, id="another-came"),
        pytest.param(came(there(WEB, "other")), False, id="one-of-another-namespace-came"),
        pytest.param(went(there(WEB)), True, id="one-that-counts-went"),
        pytest.param(went(there(DB)), False, id="another-went"),
        pytest.param(became(there(DB), there(WEB)), True, id="one-counts-now"),
        pytest.param(became(there(WEB), there(DB)), True, id="one-counts-no-more"),
        pytest.param(became(there(WEB), there({**WEB, "v": "2"})), False, id="one-counts-as-before"),
        pytest.param(came(in_zone("a")), True, id="a-node-in-a-domain-came"),
        pytest.param(came(in_zone()), False, id="a-node-in-no-domain-came"),
        pytest.param(went(in_zone("a")), True, id="a-node-in-a-domain-went"),
        pytest.param(went(in_zone()), False, id="a-node-in-no-domain-went"),
        pytest.param(became(in_zone("a"), in_zone("b")), True, id="a-node-is-in-another-domain"),
        pytest.param(became(in_zone("a"), in_zone()), True, id="a-node-left-its-domain"),
        pytest.param(became(in_zone("a"), in_zone("a", taints=TAINT)), True, id="a-node-was-tainted"),
        pytest.param(became(in_zone(), in_zone(taints=TAINT)), False, id="a-node-in-no-domain-was-tainted"),
        pytest.param(became(in_zone("a"), in_zone("a", cpu="9")), False, id="a-node-grew"),
    ],
)
def test_what_wakes_a_pod_that_spreading_refused(change: Change, wakes: bool) -> None:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": WEB},
    }
    policy = started(PodTopologySpread, table(), {}, {})
    assert policy.helps(pod(labels=WEB, topologySpreadConstraints=[constraint]), change) is wakes
