"""Certificate approval controller: approves a kubelet's client certificate when the asker may ask for it.

Source: k8s.io/kubernetes/pkg/controller/certificates/approver/sarapprove.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel_plugins import certificates as c

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_REVIEWS = "subjectaccessreviews.v1.authorization.k8s.io"


class Plugin(Reconciler):
    """The ``csrapproving`` controller."""

    resource = c.REQUESTS
    user = "system:serviceaccount:kube-system:certificate-controller"

    async def reconcile(self, namespace: str, name: str) -> None:
        request = self.primary.get(name)
        if request is None or (request.get("status") or {}).get("certificate") or c.decided(request):
            return
        if request["spec"]["signerName"] != c.KUBELET_CLIENT:
            return
        try:
            parsed = c.parse(request)
            c.check_kubelet_client(parsed, request["spec"]["usages"])
        except (ValueError, c.SignerRefusal):
            # Not recognized: somebody else may decide.
            return
        tried = []
        for subresource, message in _rights(request, parsed):
            tried.append(subresource)
            if await self._may(request, subresource):
                await self._approve(request, message)
                return
        self.log.debug("recognized csr {} as {} but subject access review was not approved", name, tried)

    async def _may(self, request: Obj, subresource: str) -> bool:
        spec = request["spec"]
        review: dict[str, Any] = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": spec.get("username", ""),
                "uid": spec.get("uid", ""),
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": {
                    "group": "certificates.k8s.io",
                    "version": "*",
                    "resource": "certificatesigningrequests",
                    "subresource": subresource,
                    "verb": "create",
                },
            },
        }
        answer = await self.client.create(_REVIEWS, review)
        return bool(answer["status"].get("allowed"))

    async def _approve(self, request: Obj, message: str) -> None:
        status = request.get("status") or {}
        approved = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message}
        wanted = {**status, "conditions": [*(status.get("conditions") or ()), approved]}
        await self.client.update(self.resource, {**request, "status": wanted}, subresource="approval")


def _rights(request: Obj, parsed: c.Parsed) -> Iterator[tuple[str, str]]:
    """(what the asker must be allowed to create, message), the narrower first."""
    if request["spec"].get("username") == parsed.common_name:
        yield (
            "selfnodeclient",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        )
    yield "nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."
