"""ValidatingAdmissionPolicy: what the policies of the cluster refuse.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating (v1.37).
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
    """The ``validating_policy`` admission plugin."""

    kind = "validating"

    @hookimpl
    def kubernel_validate(self, request: Request) -> Awaitable[None] | None:
        hooks = self._policies.hooks(request)
        if not hooks:
            return None
        from kubernel_plugins.admission.validating_policy.dispatch import decide

        return decide(self.handle, self._policies, request, hooks)

    @staticmethod
    def compile(policy: Obj) -> object:
        from kubernel_plugins.admission.validating_policy.policy import Policy

        return Policy(policy)
