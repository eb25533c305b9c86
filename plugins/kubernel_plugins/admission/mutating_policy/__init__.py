"""MutatingAdmissionPolicy: what the policies of the cluster change.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/mutating (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.admission.policies import Policies

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import Request

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``mutating_policy`` admission plugin."""

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._policies = Policies(
            self.handle,
            "mutatingadmissionpolicies.v1.admissionregistration.k8s.io",
            "mutatingadmissionpolicybindings.v1.admissionregistration.k8s.io",
            _compile,
        )

    async def start(self) -> None:
        self._policies.start()

    async def stop(self) -> None:
        self._policies.stop()

    @hookimpl
    def kubernel_admit(self, request: Request) -> Awaitable[None] | None:
        if request.operation not in ("CREATE", "UPDATE"):
            return None
        hooks = self._policies.hooks(request)
        if not hooks:
            return None
        from kubernel_plugins.admission.mutating_policy.dispatch import mutate

        return mutate(self.handle, self._policies, request, hooks)


def _compile(policy: dict[str, object]) -> object:
    # CEL is loaded with the first policy: a cluster without one starts without it.
    from kubernel_plugins.admission.mutating_policy.policy import Policy

    return Policy(policy)
