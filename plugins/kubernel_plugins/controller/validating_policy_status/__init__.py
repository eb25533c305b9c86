"""ValidatingAdmissionPolicy status: type checking of policies against the schemas of what they are about.

Source: k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus,
k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin"]


class Plugin(Reconciler):
    """The ``validating_policy_status`` controller."""

    resource = "validatingadmissionpolicies.v1.admissionregistration.k8s.io"
    user = "system:serviceaccount:kube-system:validatingadmissionpolicy-status-controller"

    async def reconcile(self, namespace: str, name: str) -> None:
        policy = self.primary.get(name)
        if policy is None:
            return
        generation = policy["metadata"].get("generation", 0)
        status: dict[str, Any] = policy.get("status") or {}
        if status.get("typeChecking") is not None and status.get("observedGeneration", 0) >= generation:
            return
        # CEL is loaded with the first policy.
        from kubernel_plugins.controller.validating_policy_status.checking import check

        warnings = check(policy, self.handle.registry)
        checked: Obj = {"expressionWarnings": warnings} if warnings else {}
        fresh = {**status, "observedGeneration": generation, "typeChecking": checked}
        await self.client.update(self.resource, {**policy, "status": fresh}, subresource="status")
