"""What several plugins ask of certificate signing requests.

Source: k8s.io/kubernetes/pkg/apis/certificates/helpers.go (v1.37).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.objects import conditions

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "API_CLIENT",
    "KUBELET_CLIENT",
    "KUBELET_SERVING",
    "LEGACY_UNKNOWN",
    "REQUESTS",
    "Parsed",
    "SignerRefusal",
    "check_kubelet_client",
    "check_request",
    "decided",
    "parse",
]

REQUESTS = "certificatesigningrequests.v1.certificates.k8s.io"
API_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"

_NODES = "system:nodes"
_NODE = "system:node:"
_CLIENT_USAGES = ("client auth", "digital signature", "key encipherment")
_SERVER_USAGES = ("digital signature", "key encipherment", "server auth")
_RSA_ONLY = "key encipherment"


class SignerRefusal(Exception):
    """The request is not one that its signer signs, in upstream's words."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A PKCS#10 request; ``pem`` is the whole of it."""

    pem: bytes
    common_name: str
    organizations: tuple[str, ...]
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    emails: tuple[str, ...]
    uris: tuple[str, ...]


def decided(request: Obj) -> str:
    """``Approved``, ``Denied`` or nothing."""
    return next((one for one in ("Denied", "Approved") if conditions.is_true(request, one)), "")


def parse(request: Obj) -> Parsed:
    """ValueError says what is wrong with ``spec.request``."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        pem = base64.b64decode(request["spec"]["request"], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("PEM block type must be CERTIFICATE REQUEST") from None
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    found = x509.load_pem_x509_csr(pem)
    if not found.is_signature_valid:
        raise ValueError("the request is not signed by its key")
    try:
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternatives = x509.SubjectAlternativeName([])

    def subject(oid: x509.ObjectIdentifier) -> tuple[str, ...]:
        return tuple(str(one.value) for one in found.subject.get_attributes_for_oid(oid))

    names = subject(NameOID.COMMON_NAME)
    return Parsed(
        pem,
        names[-1] if names else "",
        subject(NameOID.ORGANIZATION_NAME),
        tuple(alternatives.get_values_for_type(x509.DNSName)),
        tuple(str(one) for one in alternatives.get_values_for_type(x509.IPAddress)),
        tuple(alternatives.get_values_for_type(x509.RFC822Name)),
        tuple(alternatives.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def check_request(signer: str, parsed: Parsed, usages: Sequence[str]) -> None:
    """Raises SignerRefusal for what ``signer`` must not sign."""
    if signer == KUBELET_CLIENT:
        check_kubelet_client(parsed, usages)
    elif signer == KUBELET_SERVING:
        _check_kubelet_serving(parsed, usages)
    elif signer == API_CLIENT:
        for usage in usages:
            if usage not in _CLIENT_USAGES:
                raise SignerRefusal(f"invalid usage for client certificate: {usage}")
        if "client auth" not in usages:
            raise SignerRefusal("missing required usage for client certificate: client auth")


def check_kubelet_client(parsed: Parsed, usages: Sequence[str]) -> None:
    _check_organization(parsed)
    _check_none(DNS=parsed.names, Email=parsed.emails, IP=parsed.addresses, URI=parsed.uris)
    _check_common_name(parsed)
    _check_usages(usages, _CLIENT_USAGES)


def _check_kubelet_serving(parsed: Parsed, usages: Sequence[str]) -> None:
    _check_organization(parsed)
    if not parsed.names and not parsed.addresses:
        raise SignerRefusal("DNS or IP subjectAltName is required")
    _check_none(Email=parsed.emails, URI=parsed.uris)
    _check_usages(usages, _SERVER_USAGES)
    _check_common_name(parsed)


def _check_organization(parsed: Parsed) -> None:
    if parsed.organizations != (_NODES,):
        raise SignerRefusal("subject organization is not system:nodes")


def _check_common_name(parsed: Parsed) -> None:
    if not parsed.common_name.startswith(_NODE):
        raise SignerRefusal("subject common name does not begin with system:node:")


def _check_none(**kinds: Collection[str]) -> None:
    for kind, values in kinds.items():
        if values:
            raise SignerRefusal(f"{kind} subjectAltNames are not allowed")


def _check_usages(usages: Sequence[str], wanted: tuple[str, ...]) -> None:
    given = set(usages)
    if given not in (set(wanted), set(wanted) - {_RSA_ONLY}):
        raise SignerRefusal(f"usages did not match [{' '.join(wanted)}]")
