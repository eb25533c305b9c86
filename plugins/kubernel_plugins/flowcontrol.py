"""The mandatory and the suggested objects of API priority and fairness.

Source: k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LEVELS", "MANDATORY", "SCHEMAS"]

Spec = dict[str, Any]

MANDATORY = frozenset(("exempt", "catch-all"))
"""Names of schemas and of levels that cannot be changed for long."""


def _limited(shares: int, lendable: int, queues: tuple[int, int, int] | None) -> Spec:
    """``queues``: how many, how many of them a flow may use, how long one may get. None rejects at once."""
    response: Spec = {"type": "Reject"}
    if queues is not None:
        number, hand, length = queues
        response = {
            "type": "Queue",
            "queuing": {"queues": number, "handSize": hand, "queueLengthLimit": length},
        }
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return {"type": "Limited", "limited": limited}


LEVELS: Mapping[str, Spec] = {
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    "catch-all": _limited(5, 0, None),
    "system": _limited(30, 33, (64, 6, 50)),
    "node-high": _limited(40, 25, (64, 6, 50)),
    "leader-election": _limited(10, 0, (16, 4, 50)),
    "workload-high": _limited(40, 50, (128, 6, 50)),
    "workload-low": _limited(100, 90, (128, 6, 50)),
    "global-default": _limited(20, 50, (128, 6, 50)),
}

_ALL_RESOURCES: Spec = {
    "verbs": ["*"],
    "apiGroups": ["*"],
    "resources": ["*"],
    "namespaces": ["*"],
    "clusterScope": True,
}
_ALL_PATHS: Spec = {"verbs": ["*"], "nonResourceURLs": ["*"]}


def _groups(*names: str) -> list[Spec]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Spec]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


_ACCOUNTS: Spec = {
    "kind": "ServiceAccount",
    "serviceAccount": {"namespace": "kube-system", "name": "*"},
}


def _rule(group: str, resources: Sequence[str], namespace: str = "*", *verbs: str) -> Spec:
    return {
        "verbs": list(verbs) or ["get", "create", "update"],
        "apiGroups": [group],
        "resources": list(resources),
        "namespaces": [namespace],
    }


def _schema(
    level: str,
    precedence: int,
    subjects: list[Spec],
    distinguisher: str = "",
    resources: list[Spec] | None = None,
    paths: list[Spec] | None = None,
) -> Spec:
    """Without ``resources`` and ``paths`` it is about everything."""
    if resources is None and paths is None:
        resources, paths = [_ALL_RESOURCES], [_ALL_PATHS]
    rule: Spec = {"subjects": subjects}
    if resources:
        rule["resourceRules"] = resources
    if paths:
        rule["nonResourceRules"] = paths
    spec: Spec = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    }
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    return spec


SCHEMAS: Mapping[str, Spec] = {
    "exempt": _schema("exempt", 1, _groups("system:masters")),
    "probes": _schema(
        "exempt",
        2,
        _groups("system:unauthenticated", "system:authenticated"),
        paths=[{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    ),
    "system-leader-election": _schema(
        "leader-election",
        100,
        [*_users("system:kube-controller-manager", "system:kube-scheduler"), _ACCOUNTS],
        "ByUser",
        [_rule("coordination.k8s.io", ("leases",))],
    ),
    "system-node-high": _schema(
        "node-high",
        400,
        _groups("system:nodes"),
        "ByUser",
        [
            {
                "verbs": ["*"],
                "apiGroups": [""],
                "resources": ["nodes", "nodes/status"],
                "namespaces": ["*"],
                "clusterScope": True,
            },
            _rule("coordination.k8s.io", ("leases",), "*", "*"),
        ],
    ),
    "system-nodes": _schema("system", 500, _groups("system:nodes"), "ByUser"),
    "kube-controller-manager": _schema(
        "workload-high", 800, _users("system:kube-controller-manager"), "ByNamespace"
    ),
    "kube-scheduler": _schema("workload-high", 800, _users("system:kube-scheduler"), "ByNamespace"),
    "kube-system-service-accounts": _schema("workload-high", 900, [_ACCOUNTS], "ByNamespace"),
    "service-accounts": _schema("workload-low", 9000, _groups("system:serviceaccounts"), "ByUser"),
    "global-default": _schema(
        "global-default", 9900, _groups("system:unauthenticated", "system:authenticated"), "ByUser"
    ),
    "catch-all": _schema(
        "catch-all", 10000, _groups("system:unauthenticated", "system:authenticated"), "ByUser"
    ),
}
