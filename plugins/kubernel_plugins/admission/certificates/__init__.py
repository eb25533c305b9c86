"""Who may decide about which certificate, and who may say whom a signer's certificates are to be trusted by:
CertificateApproval, CertificateSigning, CertificateSubjectRestriction, ClusterTrustBundleAttest.

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
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_GROUP = "certificates.k8s.io"
_COLLECTED = frozenset(("ownerReferences", "finalizers", "selfLink", "managedFields"))
"""What the garbage collector changes of an object, and what changes with it."""
_API_CLIENT = "kubernetes.io/kube-apiserver-client"


class Plugin(Base):
    """The ``certificates`` admission plugin."""

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        if request.type.group != _GROUP or request.obj is None:
            return
        if request.type.plural == "certificatesigningrequests":
            self._signing_request(request, request.obj, request.old)
        elif request.type.plural == "clustertrustbundles":
            self._trust_bundle(request, request.obj, request.old)

    def _signing_request(self, request: Request, obj: Obj, old: Obj | None) -> None:
        if request.operation == "CREATE" and not request.subresource:
            self._subject(request, obj["spec"])
        elif request.subresource == "approval" and old is not None:
            self._decide(request, "approve", old)
        elif request.subresource == "status" and old is not None:
            status, before = obj.get("status") or {}, old.get("status") or {}
            # Only who changes what signing changes has to be a signer.
            if all(
                (status.get(key) or None) == (before.get(key) or None)
                for key in ("certificate", "conditions")
            ):
                return
            self._decide(request, "sign", old)

    def _decide(self, request: Request, verb: str, old: Obj) -> None:
        signer = old["spec"].get("signerName", "")
        if not self._may(request, verb, signer):
            raise _refused(request, f'user not permitted to {verb} requests with signerName "{signer}"')

    def _trust_bundle(self, request: Request, obj: Obj, old: Obj | None) -> None:
        if request.operation not in ("CREATE", "UPDATE"):
            return
        signer = obj["spec"].get("signerName", "")
        if not signer or (old is not None and _only_collected(obj, old)):
            return
        if not self._may(request, "attest", signer):
            raise _refused(request, f'user not permitted to attest for signerName "{signer}"')

    def _may(self, request: Request, verb: str, signer: str) -> bool:
        domain = signer.partition("/")[0]
        for name in (signer, f"{domain}/*"):
            asked = Attributes(request.user, verb, _GROUP, "*", "signers", name=name)
            if self.handle.hooks.authorize(asked).allowed or not self.handle.hooks.authorizes:
                return True
        return False

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


def _only_collected(obj: Obj, old: Obj) -> bool:
    """Whether nothing changed but what the garbage collector may change."""

    def rest(one: Obj) -> Obj:
        metadata = {key: value for key, value in one["metadata"].items() if key not in _COLLECTED}
        return {**one, "metadata": metadata}

    return rest(obj) == rest(old)


def _refused(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object(request.type.plural, request.type.group, request.name, why)
