"""DenyServiceExternalIPs: nobody takes over addresses with a Service's externalIPs.

Source: k8s.io/kubernetes/plugin/pkg/admission/network/denyserviceexternalips (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.errors import Forbidden
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``deny_service_external_ips`` admission plugin. Addresses that are there already may stay."""

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        if request.type.plural != "services" or request.type.group or request.subresource:
            return
        if request.obj is None:
            return
        wanted = set(request.obj["spec"].get("externalIPs") or ())
        if request.old is not None:
            wanted -= set(request.old["spec"].get("externalIPs") or ())
        if wanted:
            raise Forbidden.for_object(
                "services", "", request.name, "Use of external IPs is denied by admission control"
            )
