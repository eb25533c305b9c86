"""Subresources whose kind is not their type's own."""

from __future__ import annotations

from kubernel.registry.types import GroupVersionKind
from kubernel_plugins.api.builtin.rows import SubresourceRow

__all__ = ["OWN_KIND_VERBS", "SUBRESOURCES"]

_STREAM = ("create", "get")
_PROXY = ("create", "delete", "get", "patch", "update")
_POST = ("create",)

SUBRESOURCES: dict[str, SubresourceRow] = {
    "nodes/proxy": SubresourceRow(GroupVersionKind("", "v1", "NodeProxyOptions"), _PROXY, connect=True),
    "pods/attach": SubresourceRow(GroupVersionKind("", "v1", "PodAttachOptions"), _STREAM, connect=True),
    "pods/binding": SubresourceRow(
        GroupVersionKind("", "v1", "Binding"), _POST, handler="bind", check="check_binding"
    ),
    "pods/eviction": SubresourceRow(
        GroupVersionKind("policy", "v1", "Eviction"), _POST, handler="evict", check="check_eviction"
    ),
    "pods/exec": SubresourceRow(GroupVersionKind("", "v1", "PodExecOptions"), _STREAM, connect=True),
    "pods/log": SubresourceRow(
        GroupVersionKind("", "v1", "Pod"), ("get",), connect=True, options="PodLogOptions"
    ),
    "pods/portforward": SubresourceRow(
        GroupVersionKind("", "v1", "PodPortForwardOptions"), _STREAM, connect=True
    ),
    "pods/proxy": SubresourceRow(GroupVersionKind("", "v1", "PodProxyOptions"), _PROXY, connect=True),
    "serviceaccounts/token": SubresourceRow(
        GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest"), _POST
    ),
    "services/proxy": SubresourceRow(GroupVersionKind("", "v1", "ServiceProxyOptions"), _PROXY, connect=True),
}

OWN_KIND_VERBS: dict[str, tuple[str, ...]] = {"finalize": ("update",)}
"""Verbs of subresources with the type's own kind, where they are not get, patch and update."""
