"""What one object uses of a quota, where that is not what its spec asks for."""

from __future__ import annotations

from typing import Any

import pytest

from kubernel_plugins.usage import usage

Obj = dict[str, Any]


def resized(
    wanted: str, granted: str | None, has: str | None, reason: str = "", kind: str = "requests"
) -> Obj:
    """A pod of one container."""
    told: Obj = {"name": "main"}
    if granted is not None:
        told["allocatedResources"] = {"cpu": granted}
    if has is not None:
        told["resources"] = {kind: {"cpu": has}}
    status: Obj = {"phase": "Running", "containerStatuses": [told]}
    if reason:
        status["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": reason}]
    spec = {"containers": [{"name": "main", "resources": {kind: {"cpu": wanted}}}]}
    return {"metadata": {"name": "p"}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("pod", "charged"),
    [
        pytest.param(resized("1", None, None), "1", id="nothing told"),
        pytest.param(resized("3", "1", "1"), "3", id="grows"),
        pytest.param(resized("1", "1", "3"), "3", id="shrinks, not done yet"),
        pytest.param(resized("1", "2", "1"), "2", id="granted more than it has"),
        pytest.param(resized("9", "1", "1", "Deferred"), "9", id="deferred"),
        pytest.param(resized("9", "1", "2", "Infeasible"), "2", id="infeasible"),
        pytest.param(resized("9", "3", None, "Infeasible"), "3", id="infeasible, only granted"),
    ],
)
def test_a_pod_that_is_resized_counts_for_the_most_of_what_it_asks_was_granted_and_has(
    pod: Obj, charged: str
) -> None:
    assert usage("pods", "", pod, 0.0)["requests.cpu"] == charged


def test_limits_are_what_the_pod_asks_or_has() -> None:
    assert usage("pods", "", resized("1", None, "2", kind="limits"), 0.0)["limits.cpu"] == "2"
    assert usage("pods", "", resized("9", None, "2", "Infeasible", "limits"), 0.0)["limits.cpu"] == "2"


@pytest.mark.parametrize(
    ("requests", "devices"),
    [
        pytest.param([{"exactly": {"deviceClassName": "gpu", "count": 3}}], {"gpu": "3"}, id="exactly"),
        pytest.param(
            [{"exactly": {"deviceClassName": "gpu", "allocationMode": "All"}}], {"gpu": "32"}, id="all"
        ),
        pytest.param(
            [{"exactly": {"deviceClassName": "gpu", "allocationMode": "Some"}}], {"gpu": "0"}, id="unknown"
        ),
        pytest.param(
            [
                {"firstAvailable": [{"deviceClassName": "gpu", "count": 4}, {"deviceClassName": "gpu"}]},
                {"firstAvailable": [{"deviceClassName": "nic"}]},
            ],
            {"gpu": "4", "nic": "1"},
            id="the most of the alternatives",
        ),
    ],
)
def test_a_claim_counts_devices_by_class(requests: list[Obj], devices: dict[str, str]) -> None:
    claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}}
    found = usage("resourceclaims", "resource.k8s.io", claim, 0.0)
    wanted = {f"{name}.deviceclass.resource.k8s.io/devices": count for name, count in devices.items()}
    assert found == {"count/resourceclaims.resource.k8s.io": "1", **wanted}
