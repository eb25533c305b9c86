"""CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may decide about which certificate.

Source: k8s.io/kubernetes/plugin/pkg/admission/certificates (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.registry.attributes import Attributes

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]

_GROUP = "certificates.k8s.io"
_API_CLIENT = "kubernetes.io/kube-apiserver-client"


class Plugin(Base):
    """The ``certificates`` admission plugin."""

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        if request.type.plural != "certificatesigningrequests" or request.type.group != _GROUP:
            return
        obj, old = request.obj, request.old
        if obj is None:
            return
        if request.operation == "CREATE" and not request.subresource:
            self._subject(request, obj["spec"])
        elif request.subresource == "approval" and old is not None:
            self._demand(request, "approve", old["spec"].get("signerName", ""))
        elif request.subresource == "status" and old is not None:
            status, before = obj.get("status") or {}, old.get("status") or {}
            # Only who changes what signing changes has to be a signer.
            if status.get("certificate") == before.get("certificate") and _failed(status) == _failed(before):
                return
            self._demand(request, "sign", old["spec"].get("signerName", ""))

    def _demand(self, request: Request, verb: str, signer: str) -> None:
        domain = signer.partition("/")[0]
        for name in (signer, f"{domain}/*"):
            asked = Attributes(request.user, verb, _GROUP, "*", "signers", name=name)
            if self.handle.hooks.authorize(asked).allowed or not self.handle.hooks.authorizes:
                return
        raise _refused(request, f'user not permitted to {verb} requests with signerName "{signer}"')

    @staticmethod
    def _subject(request: Request, spec: dict[str, Any]) -> None:
        if spec.get("signerName") != _API_CLIENT:
            return
        from kubernel_plugins.certificates import parse

        try:
            organizations = parse(request.obj or {}).organizations
        except ValueError:
            return  # what is no request is refused by validation
        if "system:masters" in organizations:
            raise _refused(request, f"use of {_API_CLIENT} signer with system:masters group is not allowed")


def _failed(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in status.get("conditions") or () if one.get("type") == "Failed"]


def _refused(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object(request.type.plural, request.type.group, request.name, why)
