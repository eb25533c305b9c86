"""What is said of a ``generateName`` where the name follows from the rest of the object.

Recorded from kube-apiserver v1.37.0.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubernel.errors import Invalid
from kubernel.testing import Cluster

DEFINITION = 'must be spec.names.plural+"."+spec.group'
SERVICE = 'must be `spec.version+"."+spec.group`: "."'
UNSIGNED = 'ClusterTrustBundle without signer name must not have ":" in its name'


@pytest.mark.parametrize(
    ("api_version", "kind", "base", "told"),
    [
        pytest.param("apiregistration.k8s.io/v1", "APIService", "ab-", SERVICE, id="APIService"),
        pytest.param(
            "certificates.k8s.io/v1", "ClusterTrustBundle", "a:b:", UNSIGNED,
            id="ClusterTrustBundle",
        ),
        pytest.param(
            "apiextensions.k8s.io/v1", "CustomResourceDefinition", "ab-", DEFINITION,
            id="CustomResourceDefinition",
        ),
    ],
)  # fmt: skip
def test_a_name_to_begin_with_is_held_against_the_rest_of_the_object(
    cluster: Cluster, api_version: str, kind: str, base: str, told: str
) -> None:
    obj: dict[str, Any] = {
        "apiVersion": api_version, "kind": kind, "metadata": {"generateName": base}, "spec": {},
    }  # fmt: skip
    with pytest.raises(Invalid) as refused:
        cluster.create(obj, namespace="")
    first, second = refused.value.causes[:2]
    assert (first.field, first.message) == ("metadata.generateName", f'Invalid value: "{base}": {told}')
    assert second.field == "metadata.name"
    assert second.message.startswith(f'Invalid value: "{base}')
    assert second.message.endswith(f": {told}")
