"""What v1.37 serves only where it is asked to, by group and version (--runtime-config)."""

from __future__ import annotations

from collections.abc import Mapping

from kubernel_plugins.api.builtin.rows import STATUS, Row

__all__ = ["EXTRA"]

EXTRA: Mapping[tuple[str, str], tuple[Row, ...]] = {
    ("scheduling.k8s.io", "v1beta1"): (
        Row("PodGroup", "podgroups", subresources=STATUS, strategy="podgroup"),
        Row("Workload", "workloads", strategy="workload"),
    ),
}
