"""Endpoints, ingresses, network policies, service ranges and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin.strategies.base import STATUS_ALONE, Builtin
from kubernel_plugins.api.builtin.validation import endpoint_slices, networking, services

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = [
    "EndpointSliceStrategy",
    "EndpointsStrategy",
    "IPAddressStrategy",
    "IngressClassStrategy",
    "IngressStrategy",
    "NetworkPolicyStrategy",
    "ServiceCIDRStrategy",
]

Obj = dict[str, Any]


class EndpointsStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return services.endpoints(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return services.endpoints(obj, old)

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
        return [deprecated, *super().warnings(request, obj)]


class EndpointSliceStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        self._drop_topology(obj)

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if obj.get("endpoints") != old.get("endpoints"):
            self._drop_topology(obj)

    def changed_generation(self, obj: Obj, old: Obj) -> bool:
        labels, before = (one["metadata"].get("labels") or {} for one in (obj, old))
        return super().changed_generation(obj, old) or labels != before

    @staticmethod
    def _drop_topology(obj: Obj) -> None:
        """v1 has the field for what v1beta1 stored only."""
        for endpoint in obj.get("endpoints") or ():
            endpoint.pop("deprecatedTopology", None)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return endpoint_slices.endpoint_slice(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return endpoint_slices.endpoint_slice_update(obj, old)


class NetworkPolicyStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return networking.network_policy(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return networking.network_policy(obj)


class IngressStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        annotated = networking.CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {})
        if request.operation != "CREATE" or not annotated or "ingressClassName" in (obj.get("spec") or {}):
            return []
        return [
            f"annotation \"{networking.CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
        ]

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return networking.ingress(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return networking.ingress_status(obj, old)
        return networking.ingress(obj, old)


class IngressClassStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return networking.ingress_class(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return networking.ingress_class(obj, old)


class IPAddressStrategy(Builtin):
    generates_names = False

    def __init__(self) -> None:
        super().__init__(thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return networking.address(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return networking.address_update(obj, old)


class ServiceCIDRStrategy(Builtin):
    resets = STATUS_ALONE

    def __init__(self) -> None:
        super().__init__(thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return networking.service_range(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return [] if request.subresource == "status" else networking.service_range_update(obj, old)
