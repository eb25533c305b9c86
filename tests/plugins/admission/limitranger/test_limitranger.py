from __future__ import annotations

from typing import Any

import pytest

from kubernel.errors import Forbidden
from kubernel.objects import meta
from kubernel.testing import Cluster


def limit_range(name: str = "limits", **item: Any) -> dict[str, Any]:
    item = {"type": "Container", **item}
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": name}, "spec": {"limits": [item]}}


def pod(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    resources = {"requests": requests or {}, "limits": limits or {}}
    containers = [{"name": "c", "image": "x", "resources": resources}]
    init = [{"name": "i", "image": "x"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": containers, "initContainers": init},
    }


def test_defaults_are_filled_in_and_noted(cluster: Cluster) -> None:
    cluster.apply(
        limit_range(
            default={"cpu": "500m", "memory": "1Gi"}, defaultRequest={"cpu": "100m", "memory": "64Mi"}
        )
    )
    made = cluster.create(pod(requests={"cpu": "200m"}))
    (container,) = made["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "200m", "memory": "64Mi"},
        "limits": {"cpu": "500m", "memory": "1Gi"},
    }
    assert meta.annotations(made)["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: memory request for container c; cpu, memory limit for container c; "
        "cpu, memory request for init container i; cpu, memory limit for init container i"
    )


def test_a_limit_alone_is_the_request_too(cluster: Cluster) -> None:
    cluster.apply(limit_range(defaultRequest={"cpu": "100m"}, default={"cpu": "1"}))
    made = cluster.create(pod(limits={"cpu": "700m"}))
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "700m"}


def test_without_a_limit_range_nothing_changes(cluster: Cluster) -> None:
    made = cluster.create(pod())
    assert "kubernetes.io/limit-ranger" not in meta.annotations(made)


@pytest.mark.parametrize(
    ("item", "requests", "limits", "problem"),
    [
        pytest.param(
            {"type": "Pod", "min": {"cpu": "100m"}},
            {"cpu": "50m"},
            {"cpu": "200m"},
            "minimum cpu usage per Pod is 100m, but request is 50m",
            id="too-little",
        ),
        pytest.param(
            {"type": "Pod", "min": {"memory": "1Mi"}},
            {"cpu": "50m"},
            {},
            "minimum memory usage per Pod is 1Mi.  No request is specified",
            id="no-request",
        ),
        pytest.param(
            {"type": "Pod", "max": {"cpu": "1"}},
            {"cpu": "1"},
            {"cpu": "2"},
            "maximum cpu usage per Pod is 1, but limit is 2",
            id="too-much",
        ),
        pytest.param(
            {"type": "Pod", "max": {"cpu": "1"}},
            {"cpu": "1"},
            {},
            "maximum cpu usage per Pod is 1.  No limit is specified",
            id="no-limit",
        ),
        pytest.param(
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "2"}},
            {"cpu": "100m"},
            {"cpu": "300m"},
            "cpu max limit to request ratio per Pod is 2, but provided ratio is 3.000000",
            id="ratio",
        ),
        pytest.param(
            {"max": {"cpu": "1"}},
            {"cpu": "1"},
            {"cpu": "3"},
            "maximum cpu usage per Container is 1, but limit is 3",
            id="container",
        ),
    ],
)
def test_what_is_outside_the_limits_is_refused(
    cluster: Cluster, item: dict[str, Any], requests: dict[str, str], limits: dict[str, str], problem: str
) -> None:
    cluster.apply(limit_range(**item))
    with pytest.raises(Forbidden) as error:
        cluster.create(pod(requests, limits))
    assert str(error.value) == f'pods "p" is forbidden: {problem}'


@pytest.mark.parametrize(
    ("storage", "problem"),
    [
        ("500Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"),
        ("5Gi", "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 5Gi"),
    ],
)
def test_claims_have_their_limits(cluster: Cluster, storage: str, problem: str) -> None:
    cluster.apply(limit_range(type="PersistentVolumeClaim", min={"storage": "1Gi"}, max={"storage": "2Gi"}))
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}},
    }
    with pytest.raises(Forbidden) as error:
        cluster.create(claim)
    assert problem in str(error.value)


def test_a_changed_limit_counts_from_then_on(cluster: Cluster) -> None:
    cluster.apply(limit_range(max={"cpu": "1"}))
    cluster.apply(limit_range(max={"cpu": "4"}))
    cluster.create(pod({"cpu": "1"}, {"cpu": "3"}))
    cluster.delete("limitranges", "limits")
