"""MutatingAdmissionPolicy: what the policies of the cluster change.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/mutating (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from kubernel.plugin import hookimpl
from kubernel_plugins.admission.policies import PolicyPlugin

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]


class Plugin(PolicyPlugin):
    """The ``mutating_policy`` admission plugin."""

    kind = "mutating"

    @hookimpl
    def kubernel_admit(self, request: Request) -> Awaitable[None] | None:
        if request.operation not in ("CREATE", "UPDATE"):
            return None
        hooks = self._policies.hooks(request)
        if not hooks:
            return None
        from kubernel_plugins.admission.mutating_policy.dispatch import mutate

        return mutate(self.handle, self._policies, request, hooks)

    @staticmethod
    def compile(policy: Obj) -> object:
        from kubernel_plugins.admission.mutating_policy.policy import Policy

        return Policy(policy)
