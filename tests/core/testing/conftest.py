from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tiny_types import CONTROLLER, TICKER, TYPES

from kubernel.plugin.catalogue import Catalogue
from kubernel.testing import Cluster


@pytest.fixture
def tiny(
    distribution: Callable[..., Any], memory_store: str, cluster_factory: Callable[..., Cluster]
) -> Callable[..., Cluster]:
    """``tiny(*controllers, **options)``: a cluster of two types, with its own little controllers."""
    points = {
        "kubernel.types": {"tiny": "kernel_test_types:Types"},
        "kubernel.controller": {
            "card": "kernel_test_controller:Plugin",
            "ticker": "kernel_test_ticker:Ticker",
        },
    }
    distribution(
        "kernel-test-types",
        points,
        kernel_test_types=TYPES,
        kernel_test_controller=CONTROLLER,
        kernel_test_ticker=TICKER,
    )

    def start(*controllers: str, **options: Any) -> Cluster:
        plugins = {
            "store": memory_store,
            "types": ["tiny"],
            "admission": [],
            "node": [],
            "controller": list(controllers),
            "scheduler": [],
            "scheduler_policy": [],
        }
        return cluster_factory(config={"plugins": plugins}, catalogue=Catalogue(), **options)

    return start
