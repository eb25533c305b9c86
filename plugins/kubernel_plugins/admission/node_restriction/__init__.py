"""NodeRestriction: a node writes about itself and its own pods, and about nothing else.

What it may read and which verbs it has is for the authorizer ``auth/node``.
Source: k8s.io/kubernetes/plugin/pkg/admission/noderestriction (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden, NotFound
from kubernel.objects import meta
from kubernel.plugin import NoSettings, hookimpl
from kubernel.plugin import Plugin as Base
from kubernel.registry.attributes import Attributes
from kubernel_plugins.admission.references import references
from kubernel_plugins.auth.rules import node_name

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_MIRROR = "kubernetes.io/config.mirror"
_LEASES = "kube-node-lease"
_RESTRICTED = "node-restriction.kubernetes.io"
_KUBELET_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "beta.kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/windows-build",
    )
)
_KUBELET_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


class Plugin(Base):
    """The ``node_restriction`` admission plugin."""

    Settings = NoSettings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._looks: Mapping[tuple[str, str], Callable[[Request, str], None]] = {
            ("", "pods"): self._pod,
            ("", "nodes"): self._node,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "serviceaccounts"): self._token,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("certificates.k8s.io", "podcertificaterequests"): self._pod_certificate,
        }

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        node = node_name(request.user)
        if node is None or request.verb == "connect":
            return
        look = self._looks.get((request.type.group, request.type.plural))
        if not node:
            if look is not None:
                raise _refused(request, f'could not determine node from user "{request.user.name}"')
            return
        if look is not None:
            look(request, node)

    def _get(self, plural: str, namespace: str, name: str) -> Obj:
        type = self.handle.registry.lookup("", "v1", plural)
        if type is None:
            raise NotFound.for_object(plural, "", name)
        return self.handle.registry.get(type, namespace, name).obj

    # --- pods

    def _pod(self, request: Request, node: str) -> None:
        if request.subresource == "status":
            self._pod_status(request, node)
        elif request.subresource == "eviction":
            pod = self._get("pods", request.namespace, request.name)
            if pod["spec"].get("nodeName") != node:
                raise _refused(request, f"node {node} can only evict pods with spec.nodeName set to itself")
        elif request.subresource:
            raise _refused(
                request,
                f"unexpected pod subresource \"{request.subresource}\", only 'status' and 'eviction' are allowed",
            )
        elif request.operation == "CREATE" and request.obj is not None:
            self._mirror(request, node, request.obj)
        elif request.operation == "DELETE":
            pod = self._get("pods", request.namespace, request.name)
            if pod["spec"].get("nodeName") != node:
                raise _refused(
                    request, f'node "{node}" can only delete pods with spec.nodeName set to itself'
                )
        else:
            raise _refused(
                request,
                f'unexpected operation "{request.operation}", node "{node}" can only create and delete mirror pods',
            )

    def _mirror(self, request: Request, node: str, pod: Obj) -> None:
        def only(why: str) -> Forbidden:
            return _refused(request, f'node "{node}" can only create pods with {why}')

        def refers(what: str) -> Forbidden:
            return _refused(request, f'node "{node}" can not create pods that reference {what}')

        spec = pod["spec"]
        if _MIRROR not in meta.annotations(pod):
            raise _refused(
                request,
                f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods',
            )
        if spec.get("nodeName") != node:
            raise only("spec.nodeName set to itself")
        owners = meta.owners(pod)
        if len(owners) > 1:
            raise only("a single owner reference set to itself")
        if not owners:
            raise only("an owner reference set to itself")
        owner = owners[0]
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise only("an owner reference set to itself")
        if not owner.get("controller"):
            raise only("a controller owner reference set to itself")
        if owner.get("blockOwnerDeletion"):
            raise _refused(request, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
        uid = meta.uid(self._get("nodes", "", node))
        if owner.get("uid") != uid:
            raise _refused(request, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")
        if spec.get("serviceAccountName"):
            raise refers("a service account")
        for what in references(spec):
            raise refers(what)

    def _pod_status(self, request: Request, node: str) -> None:
        pod, old = request.obj, request.old
        if pod is None or old is None:
            raise _refused(request, f'unexpected operation "{request.operation}"')
        if old["spec"].get("nodeName") != node:
            why = "can only update pod status for pods with spec.nodeName set to itself"
            raise _refused(request, f'node "{node}" {why}')
        if meta.labels(pod) != meta.labels(old):
            raise _refused(request, f'node "{node}" cannot update labels through pod status')
        claims = [(one.get("status") or {}).get("resourceClaimStatuses") or [] for one in (pod, old)]
        if claims[0] != claims[1]:
            raise _refused(request, f'node "{node}" cannot update resource claim statues')

    # --- nodes

    def _node(self, request: Request, node: str) -> None:
        if request.name != node:
            raise _refused(request, f'node "{node}" is not allowed to modify node "{request.name}"')
        obj, old = request.obj, request.old
        if obj is None:
            return
        if old is None:
            wrong = _forbidden_labels(meta.labels(obj), {})
            if wrong:
                told = ", ".join(wrong)
                raise _refused(request, f'node "{node}" is not allowed to set the following labels: {told}')
            return
        if (obj["spec"].get("taints") or []) != (old["spec"].get("taints") or []):
            raise _refused(request, f'node "{node}" is not allowed to modify taints')
        wrong = _forbidden_labels(meta.labels(obj), meta.labels(old))
        if wrong:
            raise _refused(request, f"is not allowed to modify labels: {', '.join(wrong)}")
        if meta.owners(obj) != meta.owners(old):
            raise _refused(request, f'node "{node}" is not allowed to modify ownerReferences')

    # --- others

    def _claim(self, request: Request, node: str) -> None:
        if request.subresource != "status":
            raise _refused(request, "may only update PVC status")
        if request.obj is None or request.old is None:
            raise _refused(request, f'unexpected operation "{request.operation}"')
        if _without_capacity(request.obj) != _without_capacity(request.old):
            raise _refused(
                request,
                f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions',
            )

    def _token(self, request: Request, node: str) -> None:
        if request.subresource != "token" or request.obj is None:
            return
        spec = request.obj.get("spec") or {}
        ref = spec.get("boundObjectRef") or {}
        if ref.get("apiVersion") != "v1" or ref.get("kind") != "Pod" or not ref.get("name"):
            raise _refused(request, "node requested token not bound to a pod")
        if not ref.get("uid"):
            raise _refused(request, "node requested token with a pod binding without a uid")
        pod = self._get("pods", request.namespace, ref["name"])
        if ref["uid"] != meta.uid(pod):
            raise _refused(
                request,
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object "
                "might have been deleted and then recreated",
            )
        if pod["spec"].get("nodeName") != node:
            raise _refused(request, "node requested token bound to a pod scheduled on a different node")
        known = {
            (source.get("serviceAccountToken") or {}).get("audience") or ""
            for volume in pod["spec"].get("volumes") or ()
            for source in (volume.get("projected") or {}).get("sources") or ()
            if source.get("serviceAccountToken") is not None
        }
        for audience in spec.get("audiences") or ():
            if audience in known or self._may_request(request, audience):
                continue
            raise _refused(
                request,
                f'audience "{audience}" not found in pod spec volume, {request.user.name} is not authorized to '
                "request tokens for this audience",
            )

    def _may_request(self, request: Request, audience: str) -> bool:
        asked = Attributes(
            request.user, "request-serviceaccounts-token-audience", "", "v1", audience, "", request.namespace,
            request.name,
        )  # fmt: skip
        return self.handle.hooks.authorize(asked).allowed

    def _lease(self, request: Request, node: str) -> None:
        if request.namespace != _LEASES:
            raise _refused(request, f'can only access leases in the "{_LEASES}" system namespace')
        if request.name != node:
            raise _refused(request, "can only access node lease with the same name as the requesting node")

    def _csi_node(self, request: Request, node: str) -> None:
        if request.name != node:
            raise _refused(request, "can only access CSINode with the same name as the requesting node")

    def _slice(self, request: Request, node: str) -> None:
        if request.operation not in ("CREATE", "DELETE"):
            return
        obj = request.obj if request.operation == "CREATE" else request.old
        if obj is not None and (obj.get("spec") or {}).get("nodeName") != node:
            raise _refused(
                request,
                f"can only {request.operation.lower()} ResourceSlice with the same NodeName as the requesting node",
            )

    def _pod_certificate(self, request: Request, node: str) -> None:
        if request.operation != "CREATE" or request.subresource or request.obj is None:
            return
        spec = request.obj.get("spec") or {}
        if spec.get("nodeName") != node:
            raise _refused(
                request,
                f'podcertificaterequest.spec.nodeName="{spec.get("nodeName", "")}", which is not the requesting '
                f'node "{node}"',
            )
        pod = self._get("pods", request.namespace, spec.get("podName", ""))
        if pod["spec"].get("nodeName") != node:
            raise _refused(
                request, f'pod "{spec.get("podName", "")}" is not bound to the requesting node "{node}"'
            )


def _refused(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object(request.type.plural, request.type.group, request.name, why)


def _forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """The changed labels that are not a node's to set."""
    changed = [key for key in {*new, *old} if new.get(key) != old.get(key)]
    return sorted(key for key in changed if _is_forbidden(key))


def _is_forbidden(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if domain == _RESTRICTED or domain.endswith(f".{_RESTRICTED}"):
        return True
    if not f".{domain}".endswith((".kubernetes.io", ".k8s.io")):
        return False
    return label not in _KUBELET_LABELS and not any(
        domain == known or domain.endswith(f".{known}") for known in _KUBELET_DOMAINS
    )


def _without_capacity(claim: Obj) -> Obj:
    told = {
        key: value
        for key, value in claim["metadata"].items()
        if key not in ("resourceVersion", "managedFields")
    }
    status = {
        key: value
        for key, value in (claim.get("status") or {}).items()
        if key not in ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
    }
    return {**claim, "metadata": told, "status": status}
