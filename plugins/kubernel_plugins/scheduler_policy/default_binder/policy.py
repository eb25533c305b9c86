"""DefaultBinder.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultbinder (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.plugin.scheduling import Policy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PodState

__all__ = ["DefaultBinder"]


class DefaultBinder(Policy):
    name = "DefaultBinder"
    scope = "node object"

    def sign(self, pod: PodState) -> Any:
        return ()

    async def bind(self, pod: PodState, node: str) -> bool:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        }
        await self.context.client.create("pods", binding, pod.namespace, subresource="binding", name=pod.name)
        return True
