"""The roles and bindings of a new cluster are those that a kube-apiserver v1.37.0 makes, and told additions.

``recorded/bootstrap.json`` is what that server listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubernel.testing import Cluster

Obj = dict[str, Any]
RECORDED: dict[str, list[Obj]] = json.loads(
    (Path(__file__).parent / "recorded" / "bootstrap.json").read_text()
)
MORE = {
    "system:controller:expand-controller",
    "system:controller:resource-claim-controller",
    "system:controller:service-controller",
    "system:controller:storage-version-migrator-controller",
    "system:kube-scheduler",
}
"""Roles that have rules of kubernel's own behind upstream's."""
OWN = {
    "clusterroles": {
        "kubernel:controller-informers",
        "system:aggregated-metrics-reader",
        "system:controller:bootstrap-signer",
        "system:controller:local-provisioner",
        "system:controller:podgroup-protection-controller",
        "system:controller:token-cleaner",
        "system:metrics-server",
    },
    "clusterrolebindings": {
        "kubernel:controller-informers",
        "kubernel:simulated-nodes",
        "system:controller:bootstrap-signer",
        "system:controller:local-provisioner",
        "system:controller:podgroup-protection-controller",
        "system:controller:token-cleaner",
        "system:metrics-server",
    },
    "roles": set(),
    "rolebindings": set(),
}


@pytest.fixture(scope="module")
def listed() -> Iterator[dict[str, dict[tuple[str, str], Obj]]]:
    plugins = {"auth": ["rbac"], "controller": ["bootstrap"], "node": None, "scheduler": None}
    with Cluster({"plugins": plugins}) as cluster:
        yield {
            plural: {
                (one["metadata"].get("namespace", ""), one["metadata"]["name"]): one
                for one in cluster.list(f"{plural}.v1.rbac.authorization.k8s.io", namespace=None)
            }
            for plural in RECORDED
        }


@pytest.mark.parametrize(
    ("plural", "wanted"),
    [
        pytest.param(plural, each, id=f"{plural} {each['namespace']} {each['name']}")
        for plural, every in RECORDED.items()
        for each in every
    ],
)
def test_a_role_or_binding_is_upstreams(
    listed: dict[str, dict[tuple[str, str], Obj]], plural: str, wanted: Obj
) -> None:
    found = listed[plural][wanted["namespace"], wanted["name"]]
    metadata = found["metadata"]
    assert metadata.get("labels") == wanted["labels"]
    assert metadata.get("annotations") == wanted["annotations"]
    for key in ("aggregationRule", "roleRef", "subjects"):
        assert found.get(key) == wanted.get(key)
    if "aggregationRule" in wanted or "roleRef" in wanted:
        return
    rules = found["rules"]
    if plural == "clusterroles" and wanted["name"] in MORE:
        assert len(rules) > len(wanted["rules"])
        rules = rules[: len(wanted["rules"])]
    assert rules == wanted["rules"]


@pytest.mark.parametrize("plural", list(RECORDED))
def test_what_there_is_beside_upstreams_is_told(
    listed: dict[str, dict[tuple[str, str], Obj]], plural: str
) -> None:
    theirs = {(each["namespace"], each["name"]) for each in RECORDED[plural]}
    assert {name for _, name in listed[plural].keys() - theirs} == OWN[plural]
