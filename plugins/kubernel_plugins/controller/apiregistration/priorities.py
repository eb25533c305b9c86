"""How the built-in groups and versions rank: (groupPriorityMinimum, versionPriority).

Source: pkg/controlplane/apiserver/aggregator.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PRIORITIES"]

_GROUPS: Mapping[str, int] = {
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "internal.apiserver.k8s.io": 16000,
    "resource.k8s.io": 15900,
    "storagemigration.k8s.io": 15800,
}
_VERSIONS: Mapping[str, int] = {
    "v2": 30,
    "v1": 15,
    "v1beta2": 15,
    "v1beta1": 12,
    "v1alpha3": 9,
    "v1alpha1": 9,
}

PRIORITIES: Mapping[tuple[str, str], tuple[int, int]] = {
    ("", "v1"): (18000, 1),
    **{
        (group, version): (priority, rank)
        for group, priority in _GROUPS.items()
        for version, rank in _VERSIONS.items()
    },
    ("metrics.k8s.io", "v1beta1"): (100, 100),
    ("flowcontrol.apiserver.k8s.io", "v1"): (16100, 21),
    ("events.k8s.io", "v1beta1"): (17750, 5),
    ("certificates.k8s.io", "v1beta1"): (17300, 9),
}
