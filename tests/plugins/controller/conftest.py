"""Rules that are looked at after every single change of a cluster, not only at the end of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kubernel.testing import Cluster

Rule = Callable[[list[Any]], object]
"""Given all objects of a resource; what is true of its answer is what is wrong."""


class Always:
    def __init__(self) -> None:
        self.broken: list[str] = []
        self.looked = 0

    def __call__(self, cluster: Cluster, resource: str, rule: Rule) -> None:
        async def listen() -> None:
            informer = cluster.client().informer(resource)
            await informer.synced()

            def look(type: str, obj: Any, old: Any) -> None:
                self.looked += 1
                if wrong := rule(informer.list()):
                    self.broken.append(f"{type} {obj['metadata']['name']}: {wrong}")

            informer.add_listener(look)

        cluster.run(listen())


@pytest.fixture
def always() -> Iterator[Always]:
    """``always(cluster, "pods", rule)``: the rule must hold after each change of a pod."""
    found = Always()
    yield found
    assert found.broken == []
