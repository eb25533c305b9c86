"""What one node may do, by resource. Source: k8s.io/kubernetes/plugin/pkg/auth/authorizer/node/node_authorizer.go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kubernel.registry.attributes import demanded
from kubernel_plugins.auth.rules import NODE_RULES, allows, compile_rules, parse_rule

if TYPE_CHECKING:
    from kubernel.registry.attributes import Attributes
    from kubernel_plugins.auth.node.graph import Graph

__all__ = ["Rules"]

_LEASES = "kube-node-lease"
_OWN = ("get", "create", "update", "patch", "delete")
_READS = ("get", "list", "watch")


class Rules:
    """``refuses`` gives None to allow, else why not (an empty text is no opinion without a reason)."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._rules = compile_rules(parse_rule(text) for text in NODE_RULES)
        self._special: Mapping[tuple[str, str], Callable[[str, Attributes], str | None]] = {
            ("", "secrets"): self._read,
            ("", "configmaps"): self._read,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get,
            ("", "serviceaccounts"): self._token,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
            ("resource.k8s.io", "resourceclaims"): self._get,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("storage.k8s.io", "volumeattachments"): self._get,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("coordination.k8s.io", "leases"): self._lease,
            ("certificates.k8s.io", "podcertificaterequests"): self._pod_certificate,
        }

    def refuses(self, node: str, asked: Attributes) -> str | None:
        if asked.path:
            return ""
        special = self._special.get((asked.group, asked.resource))
        if special is not None:
            return special(node, asked)
        return None if any(allows(rule, asked) for rule in self._rules) else ""

    def _related(self, node: str, asked: Attributes) -> str | None:
        if not asked.name:
            return "No Object name found"
        if self._graph.concerns(node, asked.resource, asked.namespace, asked.name):
            return None
        return f"no relationship found between node '{node}' and this object"

    def _get(self, node: str, asked: Attributes) -> str | None:
        if asked.verb != "get":
            return "can only get individual resources of this type"
        if asked.subresource:
            return "cannot get subresource"
        return self._related(node, asked)

    def _read(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in _READS:
            return "can only read resources of this type"
        if asked.subresource:
            return "cannot read subresource"
        if not asked.namespace:
            return "can only read namespaced object of this type"
        return self._related(node, asked)

    def _claim(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource != "status":
            return self._get(node, asked)
        if asked.verb not in ("update", "patch"):
            return "can only get/update/patch this type"
        return self._related(node, asked)

    def _token(self, node: str, asked: Attributes) -> str | None:
        if asked.verb != "create" or not asked.name:
            return "can only create tokens for individual service accounts"
        if asked.subresource != "token":
            return "can only create token subresource of serviceaccount"
        return self._related(node, asked)

    def _lease(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in _OWN:
            return "can only get, create, update, patch, or delete a node lease"
        if asked.namespace != _LEASES:
            return f'can only access leases in the "{_LEASES}" system namespace'
        # The name of a new one is not known yet: admission looks at it.
        if asked.verb != "create" and asked.name != node:
            return "can only access node lease with the same name as the requesting node"
        return None

    def _csi_node(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in _OWN:
            return "can only get, create, update, patch, or delete a CSINode"
        if asked.subresource:
            return "cannot authorize CSINode subresources"
        if asked.verb != "create" and asked.name != node:
            return "can only access CSINode with the same name as the requesting node"
        return None

    def _slice(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource:
            return "cannot authorize ResourceSlice subresources"
        if asked.verb == "create":
            return None
        if asked.verb in ("get", "update", "patch", "delete"):
            return self._related(node, asked)
        if asked.verb in ("watch", "list", "deletecollection"):
            if demanded(asked.field_selector, "spec.nodeName") == node:
                return None
            return "can only list/watch/deletecollection resourceslices with nodeName field selector"
        return (
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, "
            "delete, deletecollection"
        )

    def _pod_certificate(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource:
            return ""
        if asked.verb == "create":
            return None
        if asked.verb == "get":
            return self._related(node, asked)
        if asked.verb in ("list", "watch"):
            if demanded(asked.field_selector, "spec.nodeName") == node:
                return None
            return "can only list/watch podcertificaterequests with nodeName field selector"
        return ""

    def _node(self, node: str, asked: Attributes) -> str | None:
        if not asked.subresource:
            if asked.verb in ("create", "update", "patch"):
                return None
            if asked.verb in _READS:
                if asked.name == node:
                    return None
                if not asked.name:
                    return f"node '{node}' cannot read all nodes, only its own Node object"
                return f"node '{node}' cannot read '{asked.name}', only its own Node object"
        elif asked.subresource == "status" and asked.verb in ("update", "patch"):
            return None
        return ""

    def _pod(self, node: str, asked: Attributes) -> str | None:
        if not asked.subresource:
            if asked.verb == "get":
                return self._get(node, asked)
            if asked.verb in ("list", "watch"):
                if demanded(asked.field_selector, "spec.nodeName") == node:
                    return None
                if asked.name:
                    return self._related(node, asked)
                return "can only list/watch pods with spec.nodeName field selector"
            if asked.verb in ("create", "delete"):
                return None
        elif (asked.subresource == "status" and asked.verb in ("update", "patch")) or (
            asked.subresource == "eviction" and asked.verb == "create"
        ):
            return None
        return ""
