"""The roles and bindings that every cluster starts with: upstream's, and what kubernel's parts need beside them.

Source of upstream's: the objects that a kube-apiserver v1.37 makes (``upstream``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubernel_plugins.auth.rbac import upstream
from kubernel_plugins.auth.rbac.upstream_controllers import CONTROLLER_ROLES
from kubernel_plugins.auth.rules import parse_rule

__all__ = ["default_objects"]

_GROUP = "rbac.authorization.k8s.io"
_R = "get list watch"
_EVENTS = "create patch update | ,events.k8s.io: events"
_CONTROLLER = "system:controller:"
_AGGREGATED = ("admin", "edit", "view")

_MORE: dict[str, tuple[str, ...]] = {
    "system:controller:expand-controller": ("patch | : persistentvolumeclaims",),
    "system:controller:resource-claim-controller": ("patch | : pods/finalizers",),
    "system:controller:service-controller": ("patch | : services",),
    "system:controller:storage-version-migrator-controller": ("get | *: *", _EVENTS),
    "system:kube-scheduler": (
        f"{_R} | scheduling.k8s.io: podgroups",
        "patch update | scheduling.k8s.io: podgroups/status",
        f"{_R} | storage.k8s.io: storageclasses",
    ),
}
"""What ours need beyond upstream's role of the name: they change things in other ways."""

_OWN_CONTROLLERS: dict[str, tuple[str, ...]] = {
    "bootstrap-signer": (f"{_R} | : secrets", "get list watch update | : configmaps", _EVENTS),
    "token-cleaner": (f"delete {_R} | : secrets", _EVENTS),
    "local-provisioner": (
        f"create delete patch {_R} | : persistentvolumes",
        f"{_R} | : persistentvolumeclaims",
        "patch | : persistentvolumeclaims/status",
        f"create {_R} | storage.k8s.io: storageclasses",
        _EVENTS,
    ),
    "podgroup-protection-controller": (
        f"update {_R} | scheduling.k8s.io: podgroups",
        f"{_R} | : pods",
    ),
}
"""Controllers that upstream gives roles in namespaces, gives none by default, or does not have."""

_OWN_ROLES: dict[str, tuple[str, ...]] = {"system:metrics-server": (f"{_R} | : nodes pods",)}

_ABSENT = frozenset(("route-controller", "selinux-warning-controller"))
"""Upstream has roles for these, and kubernel nobody who has them."""

_INFORMERS = "kubernel:controller-informers"
"""Upstream's controllers read through informers that run as kube-controller-manager; ours as themselves."""

_OWN_BINDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "system:metrics-server": ("system:metrics-server", ("ServiceAccount metrics-server",)),
    "kubernel:simulated-nodes": ("system:node", ("User kubernel:simulated-nodes",)),
    **{
        f"{_CONTROLLER}{name}": (f"{_CONTROLLER}{name}", (f"ServiceAccount {name}",))
        for name in _OWN_CONTROLLERS
    },
}


def default_objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """(plural, object) of all of them, roles before the bindings that refer to them."""
    for name, rules in {**upstream.CLUSTER_ROLES, **CONTROLLER_ROLES}.items():
        yield "clusterroles", _role(name, (*rules, *_MORE.get(name, ())), _collected(name))
    for position, name in enumerate(_AGGREGATED):
        role = _role(name, (), _label(_AGGREGATED[position - 1]) if position else {})
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": _label(name)}]}
        yield "clusterroles", role
    for name, rules in _OWN_CONTROLLERS.items():
        yield "clusterroles", _role(f"{_CONTROLLER}{name}", rules)
    for name, rules in _OWN_ROLES.items():
        yield "clusterroles", _role(name, rules)
    metrics = "system:aggregated-metrics-reader"
    yield "clusterroles", _role(metrics, (f"{_R} | metrics.k8s.io: nodes pods",), _label("view"))
    yield "clusterroles", _role(_INFORMERS, ("get list watch | *: *",))
    bindings = {**upstream.CLUSTER_BINDINGS, **_OWN_BINDINGS}
    for name, (role_name, subjects) in bindings.items():
        yield "clusterrolebindings", _binding(name, role_name, subjects)
    controllers = [name.removeprefix(_CONTROLLER) for name in bindings if name.startswith(_CONTROLLER)]
    accounts = tuple(f"ServiceAccount {name}" for name in controllers if name not in _ABSENT)
    yield "clusterrolebindings", _binding(_INFORMERS, _INFORMERS, accounts)
    for (namespace, name), rules in upstream.ROLES.items():
        yield "roles", _in(namespace, "Role", _role(name, rules))
    for (namespace, name), (role_name, subjects) in upstream.ROLE_BINDINGS.items():
        binding = _in(namespace, "RoleBinding", _binding(name, role_name, subjects))
        binding["roleRef"]["kind"] = "Role"
        yield "rolebindings", binding


def _label(target: str) -> dict[str, str]:
    return {f"{_GROUP}/aggregate-to-{target}": "true"}


def _collected(name: str) -> dict[str, str]:
    target = upstream.AGGREGATES.get(name)
    return _label(target) if target else {}


def _in(namespace: str, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "kind": kind, "metadata": {**obj["metadata"], "namespace": namespace}}


def _meta(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **labels},
    }


def _role(name: str, rules: tuple[str, ...], labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": _meta(name, labels or {}),
        "rules": [parse_rule(rule) for rule in rules],
    }


def _binding(name: str, role: str, subjects: tuple[str, ...]) -> dict[str, Any]:
    told = []
    for subject in subjects:
        kind, _, subject_name = subject.partition(" ")
        entry = {"kind": kind, "name": subject_name}
        if kind == "ServiceAccount":
            entry["namespace"] = "kube-system"
        else:
            entry["apiGroup"] = _GROUP
        told.append(entry)
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": _meta(name, {}),
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        **({"subjects": told} if told else {}),
    }
