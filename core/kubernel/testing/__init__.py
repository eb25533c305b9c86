"""The test kit: whole clusters in one process, in milliseconds, with time that tests advance.

``Cluster``        a cluster with a plain, synchronous face; also a context manager
``pytest_plugin``  the fixtures ``cluster`` and ``cluster_factory``, in every pytest run
                   where kubernel is installed
``Faults``         lost watches, slow or failing writes, crashing plugins: ``cluster.faults``

    def test_my_operator(cluster):
        cluster.apply("crd.yaml")
        cluster.clock.advance("1h")
        assert cluster.get("deployments.v1.apps", "shop")["status"]["readyReplicas"] == 3

Importing this package imports nothing else: pytest loads the plugin in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernel.testing.cluster import Cluster
    from kubernel.testing.faults import Faults

__all__ = ["Cluster", "Faults"]


def __getattr__(name: str) -> Any:
    if name == "Cluster":
        from kubernel.testing.cluster import Cluster

        return Cluster
    if name == "Faults":
        from kubernel.testing.faults import Faults

        return Faults
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
