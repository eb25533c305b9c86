"""pytest fixtures. Loaded in every pytest run where kubernel is installed: imports nothing until used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kubernel.testing.cluster import Cluster

__all__ = ["cluster", "cluster_factory"]


@pytest.fixture
def cluster_factory() -> Iterator[Callable[..., Cluster]]:
    """``cluster_factory(**options)`` starts a ``kubernel.testing.Cluster``, stopped after the test."""
    from contextlib import ExitStack

    from kubernel.testing.cluster import Cluster

    with ExitStack() as stack:

        def start(**options: Any) -> Cluster:
            return stack.enter_context(Cluster(**options))

        yield start


@pytest.fixture
def cluster(cluster_factory: Callable[..., Cluster]) -> Cluster:
    """A fresh cluster: real controllers and scheduler, a simulated node, virtual time, no sockets."""
    return cluster_factory()
