"""What the tests of several policies start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from volume_kit import ZONE

from kubernel.testing import Cluster


@pytest.fixture
def volume_cluster(cluster_factory: Callable[..., Cluster]) -> Callable[[], Cluster]:
    """Three nodes, in zones a, b and b, and nobody who binds, provides or attaches."""

    def make() -> Cluster:
        plugins = {
            "node": [{"simulated": {"nodes": 3, "cpu": "4"}}],
            "controller": ["bootstrap", "namespace", "serviceaccount"],
            "admission": ["*", "-taint_nodes"],
            "scheduler_policy": ["*"],
        }
        made = cluster_factory(config={"plugins": plugins})
        for name, zone in (("node-1", "a"), ("node-2", "b"), ("node-3", "b")):
            made.patch("nodes", name, {"metadata": {"labels": {ZONE: zone}}})
        return made

    return make
