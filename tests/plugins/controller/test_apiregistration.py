"""APIServices of what the server serves itself."""

from __future__ import annotations

import pytest

from kubernel.errors import Invalid
from kubernel.testing import Cluster

SERVICES = "apiservices.v1.apiregistration.k8s.io"


def test_every_built_in_version_has_an_available_local_service(cluster: Cluster) -> None:
    served = {
        f"{type.version}.{type.group}"
        for type in cluster.kernel.registry.types()
        if not type.custom and type.group != "apiregistration.k8s.io"
    }
    found = {one["metadata"]["name"]: one for one in cluster.list(SERVICES)}
    assert served <= set(found)
    assert found["v1.apps"]["spec"] == {
        "group": "apps",
        "version": "v1",
        "groupPriorityMinimum": 17800,
        "versionPriority": 15,
    }
    for name in served:
        (condition,) = found[name]["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")


def test_a_local_service_comes_back_when_it_is_deleted(cluster: Cluster) -> None:
    cluster.delete(SERVICES, "v1.apps")
    cluster.settle()
    assert cluster.get(SERVICES, "v1.apps")["spec"]["groupPriorityMinimum"] == 17800


def test_a_definitions_versions_get_services_that_go_with_it(cluster: Cluster) -> None:
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    version = {"served": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    cluster.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Cluster",
                "names": names,
                "versions": [
                    {"name": "v1", "storage": True, **version},
                    {"name": "v2", "storage": False, **version, "served": False},
                ],
            },
        }
    )
    cluster.settle()
    spec = cluster.get(SERVICES, "v1.example.com")["spec"]
    assert (spec["groupPriorityMinimum"], spec["versionPriority"]) == (1000, 100)
    assert cluster.find(SERVICES, "v2.example.com") is None
    cluster.delete("customresourcedefinitions.v1.apiextensions.k8s.io", "things.example.com")
    cluster.settle()
    assert cluster.find(SERVICES, "v1.example.com") is None


@pytest.mark.parametrize(
    ("name", "spec", "text"),
    [
        pytest.param("x", {}, 'must be `spec.version+"."+spec.group`: "v1.example.com"', id="name"),
        pytest.param(
            "v1.example.com",
            {"groupPriorityMinimum": 20001},
            "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
            id="priority",
        ),
        pytest.param(
            "v1.example.com",
            {"service": {"name": "s"}},
            "spec.service.namespace: Required value",
            id="service",
        ),
        pytest.param(
            "v1.example.com",
            {"insecureSkipTLSVerify": True},
            "local APIServices may not have insecureSkipTLSVerify",
            id="insecure-and-local",
        ),
    ],
)
def test_a_wrong_service_is_refused(cluster: Cluster, name: str, spec: dict[str, object], text: str) -> None:
    full = {
        "group": "example.com",
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 10,
        **spec,
    }
    made = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": full,
    }
    with pytest.raises(Invalid) as caught:
        cluster.create(made)
    assert text in caught.value.message
