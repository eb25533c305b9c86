"""The pods with which the Pod Security Standards are tested upstream, each allowed or refused by its level in all the
versions of Kubernetes for which that is said (k8s.io/pod-security-admission v0.37.0, test/testdata)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubernel_plugins.admission.pod_security.policy import LevelVersion, evaluate

PODS = json.loads((Path(__file__).parent / "recorded" / "pod_security.json").read_text("utf-8"))


@pytest.mark.parametrize("case", [pytest.param(one, id=one["name"]) for one in PODS])
def test_a_pod_is_judged_as_upstream_does_in_each_version(case: Any) -> None:
    minors = [minor for first, last in case["minors"] for minor in range(first, last + 1)]
    assert minors
    for minor in minors:
        found = evaluate(LevelVersion(case["level"], minor), case.get("annotations", {}), case["spec"])
        assert (not found) is case["allowed"], f"v1.{minor}: {found}"


def test_the_pods_fail_each_check_and_pass_both_levels() -> None:
    refused = {one["name"].split("-")[2].rstrip("0123456789") for one in PODS if not one["allowed"]}
    assert len(refused) == 18
    assert {one["level"] for one in PODS if one["allowed"]} == {"baseline", "restricted"}
