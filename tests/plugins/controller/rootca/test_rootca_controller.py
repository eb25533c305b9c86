from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubernel.testing import Cluster

NAME = "kube-root-ca.crt"


@pytest.fixture
def with_ca(cluster_factory: Callable[..., Cluster]) -> Cluster:
    return cluster_factory(config={"plugins": {"auth": ["x509"]}})


def data(cluster: Cluster, namespace: str = "default") -> Any:
    return cluster.get("configmaps", NAME, namespace)["data"]


def test_every_namespace_gets_the_certificate(with_ca: Cluster) -> None:
    with_ca.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    assert data(with_ca, "shop")["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")


def test_deleted_or_edited_it_comes_back(with_ca: Cluster) -> None:
    before = data(with_ca)
    with_ca.delete("configmaps", NAME)
    assert data(with_ca) == before
    with_ca.patch("configmaps", NAME, {"data": {"ca.crt": "mine", "more": "x"}})
    assert data(with_ca) == before


def test_without_a_certificate_authority_nothing_is_published(cluster: Cluster) -> None:
    assert cluster.find("configmaps", NAME) is None
