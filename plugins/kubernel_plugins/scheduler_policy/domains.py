"""Topology domains: nodes that have the same value for a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Mask, Nodes, Rows

__all__ = ["at", "sums"]


def sums(nodes: Nodes, key: str, counts: Amounts, among: Mask | None = None) -> Amounts:
    """Counts of nodes added up by domain, indexed by the ids of ``nodes.label(key)``. ``among``: only these."""
    ids = nodes.label(key)
    there = ids >= 0 if among is None else among & (ids >= 0)
    size = len(nodes.label_values(key))
    return numpy.bincount(ids[there], weights=counts[there], minlength=size).astype(numpy.int64)


def at(nodes: Nodes, key: str, by_domain: Any, rows: Rows, missing: Any = 0) -> Any:
    """What ``by_domain`` has for each node; ``missing`` where the node is in no domain."""
    # The element past the last domain is what id -1 finds.
    found = numpy.empty(len(by_domain) + 1, dtype=by_domain.dtype)
    found[:-1], found[-1] = by_domain, missing
    return found.take(nodes.label(key)[rows])
