"""Certificate requests, of users and of pods, and bundles of trust anchors.

Source: pkg/apis/certificates/validation (v1.37). Go's words for what is no ASN.1 are its own; what stands for them
here is that the bytes are no such structure.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.errors import Cause
from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.conditions import conditions
from kubernel_plugins.api.builtin.validation.internal import go_diff, go_equal, go_value
from kubernel_plugins.api.builtin.validation.signers import is_kubernetes_signer, signer_name
from kubernel_plugins.api.builtin.validation.values import ANNOTATIONS_LIMIT, Found, Obj, named

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

__all__ = [
    "pod_certificate_request",
    "pod_certificate_status",
    "pod_certificate_update",
    "signing_request",
    "signing_request_update",
    "trust_bundle",
]

_SHORTEST_SECONDS = 600
_REQUEST = "CERTIFICATE REQUEST"
_CERTIFICATE = "CERTIFICATE"
_DECISIONS = ("Approved", "Denied")
_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_CHOICES = tuple(f'conditions[{{"type": "{type}"}}]' for type in _DECISIONS)
_ONE_DECISION = "must specify at most one of: " + ", ".join(f"`{choice}`" for choice in _CHOICES)
_MOST_BUNDLE = 1024 * 1024
_MOST_REQUEST = 10 * 1024
_MOST_CHAIN = 100 * 1024
_LONGEST_UID = 128
_SHORTEST_LIFE = 60 * 60
_LONGEST_LIFE = 91 * 24 * 60 * 60
_LONGEST_KUBERNETES_LIFE = 24 * 60 * 60
_OMITTED = "<value omitted>"
_OUTCOMES = ("Issued", "Denied", "Failed")
_RSA_SIZES = (3072, 4096)
_NOT_VERIFIED = "could not verify proof-of-possession signature"
_RSA_SIZE = "RSA keys must have modulus size 3072 or 4096"
_UNKNOWN_KEY = "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
_SLACK = timedelta(minutes=5)
_MARGIN = timedelta(minutes=10)
_block = re.compile(
    r"(?:\A|\n)-----BEGIN (?P<type>[^\n-]*)-----[ \t\r]*\n(?P<headers>(?:[^\n:]+:[^\n]*\n)*)"
    r"(?P<body>[A-Za-z0-9+/=\s]*?)(?:\A|\n)?-----END (?P=type)-----"
)


def _pem(text: str) -> Iterator[tuple[str, bool, bytes]]:
    """(type, whether there are headers, DER) of each block."""
    for found in _block.finditer(text):
        try:
            yield found["type"], bool(found["headers"]), base64.b64decode("".join(found["body"].split()))
        except (binascii.Error, ValueError):
            continue


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def _without_value(path: str, told: str) -> Cause:
    """Upstream tells neither the value nor that it leaves it out."""
    return causes.without_value(path, told)


def signing_request(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec, before = obj.get("spec") or {}, (old or {}).get("spec") or {}
    if wrong := _request_problem(spec.get("request")):
        found.append(causes.invalid("spec.request", spec.get("request"), wrong))
    usages = spec.get("usages") or []
    if not usages:
        found.append(causes.required("spec.usages"))
    if not before.get("usages") or usages != before["usages"]:
        for index, usage in enumerate(usages):
            if usage not in _USAGES:
                found.append(causes.not_supported(f"spec.usages[{index}]", usage, _USAGES))
        for index, usage in enumerate(usages):
            if usage in usages[:index]:
                found.append(causes.duplicate(f"spec.usages[{index}]", usage))
    signer = spec.get("signerName") or ""
    if signer == "kubernetes.io/legacy-unknown" and before.get("signerName") != signer:
        told = "the legacy signerName is not allowed via this API version"
        found.append(causes.invalid("spec.signerName", signer, told))
    else:
        signer_name(signer, "spec.signerName", found)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST_SECONDS:
        told = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(causes.invalid("spec.expirationSeconds", seconds, told))
    status, was = obj.get("status") or {}, (old or {}).get("status") or {}
    _decisions(status.get("conditions") or (), was.get("conditions") or (), found)
    certificate = status.get("certificate")
    changed = certificate and certificate != was.get("certificate")
    if changed and (wrong := _certificate_problem(_bytes(certificate).decode("latin-1"))):
        found.append(causes.invalid("status.certificate", "<certificate data>", wrong))
    return found


def _request_problem(text: str | None) -> str:
    block = next(_pem(_bytes(text).decode("latin-1")), None)
    if block is None or block[0] != _REQUEST:
        return "PEM block type must be CERTIFICATE REQUEST"
    request = _parsed_request(block[2])
    if request is None:
        return "asn1: structure error: tags don't match"
    if not request.is_signature_valid:
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        key = request.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey):
            return "x509: ECDSA verification failure"
        return (
            "crypto/rsa: verification error"
            if isinstance(key, rsa.RSAPublicKey)
            else "x509: Ed25519 verification failure"
        )
    return ""


def _parsed_request(der: bytes) -> x509.CertificateSigningRequest | None:
    from cryptography import x509

    try:
        request = x509.load_der_x509_csr(der)
        request.public_key()
    except Exception:  # whatever the parser says of bytes that anybody may send
        return None
    return request


def _parsed_certificate(der: bytes) -> x509.Certificate | None:
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.public_key()
    except Exception:
        return None
    return certificate


def _certificate_problem(text: str) -> str:
    blocks = list(_pem(text))
    for type, headers, der in blocks:
        if type != _CERTIFICATE:
            return f'only CERTIFICATE PEM blocks are allowed, found "{type}"'
        if headers:
            return "no PEM block headers are permitted"
        if _parsed_certificate(der) is None:
            return "x509: malformed certificate"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def _decisions(listed: list[Obj] | tuple[()], before: list[Obj] | tuple[()], found: Found) -> None:
    types = [one.get("type") or "" for one in before]
    both = set(_DECISIONS) <= set(types)
    twice, unnamed = len(set(types)) < len(types), "" in types
    seen: set[str] = set()
    for index, condition in enumerate(listed):
        path = f"status.conditions[{index}]"
        type, status = condition.get("type") or "", condition.get("status") or ""
        if not type and not unnamed:
            found.append(causes.required(f"{path}.type"))
        allowed = ("True",) if type in (*_DECISIONS, "Failed") else ("False", "True", "Unknown")
        if not status:
            found.append(causes.required(f"{path}.status"))
        elif status not in allowed:
            found.append(causes.not_supported(f"{path}.status", status, allowed))
        if not both and type in _DECISIONS and seen & (set(_DECISIONS) - {type}):
            found.append(causes.invalid("status.conditions", "{" + ", ".join(_CHOICES) + "}", _ONE_DECISION))
        if type in seen and not twice:
            found.append(causes.duplicate(f"{path}.type", type))
        seen.add(type)


def signing_request_update(obj: Obj, old: Obj, subresource: str) -> Found:
    found = signing_request(obj, old)
    status, before = obj.get("status") or {}, old.get("status") or {}

    def of(status: Obj, type: str) -> list[Obj]:
        return [one for one in status.get("conditions") or () if one.get("type") == type]

    found += [
        causes.forbidden("status.conditions", f'updates may not remove a condition of type "{type}"')
        for type in (*_DECISIONS, "Failed")
        if len(of(status, type)) < len(of(before, type))
    ]
    for type in _DECISIONS if subresource != "approval" else ():
        now, then = of(status, type), of(before, type)
        if len(now) > len(then):
            told = f'updates may not add a condition of type "{type}"'
            found.append(causes.forbidden("status.conditions", told))
        elif len(now) == len(then) and now != then:
            shown = go_diff("certificates.CertificateSigningRequestCondition", then, now)
            told = f'updates may not modify a condition of type "{type}"\n{shown}'
            found.append(causes.forbidden("status.conditions", told))
    if (status.get("certificate") or "") != (before.get("certificate") or ""):
        if subresource != "status":
            told = "updates may not set certificate content"
            found.append(causes.forbidden("status.certificate", told))
        elif before.get("certificate"):
            told = "updates may not modify existing certificate content"
            found.append(causes.forbidden("status.certificate", told))
    return found


def trust_bundle(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec, before = obj.get("spec") or {}, (old or {}).get("spec") or {}
    signer = spec.get("signerName") or ""
    for key in ("generateName", "name"):
        _bundle_name(obj["metadata"].get(key) or "", f"metadata.{key}", signer, found)
    if signer:
        signer_name(signer, "spec.signerName", found)
    text = spec.get("trustBundle") or ""
    if old is None or text != (before.get("trustBundle") or ""):
        _anchors(text, "spec.trustBundle", found)
    if old is not None and signer != (before.get("signerName") or ""):
        found.append(causes.invalid("spec.signerName", signer, causes.FIELD_IMMUTABLE))
    return found


def _bundle_name(name: str, path: str, signer: str, found: Found) -> None:
    """Bundles of a signer carry it in front, with colons for its slashes."""
    prefix = signer.replace("/", ":") + ":" if signer else ""
    if not name:
        return
    if not signer and ":" in name:
        told = 'ClusterTrustBundle without signer name must not have ":" in its name'
        found.append(causes.invalid(path, name, told))
    elif not name.startswith(prefix):
        told = f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        found.append(causes.invalid(path, name, told))
    else:
        kept = name.removeprefix(prefix)
        check = names.check_dns1123_subdomain
        problems = names.masked(check, kept) if path.endswith("generateName") else check(kept)
        found += causes.invalid_each(path, name, problems)


def _anchors(text: str, path: str, found: Found) -> None:
    if len(text.encode()) > _MOST_BUNDLE:
        found.append(causes.too_long(path, _MOST_BUNDLE))
        return
    known: dict[bytes, list[int]] = {}
    wrong = False
    for index, (type, headers, der) in enumerate(_pem(text)):
        problem = _anchor_problem(type, headers, der)
        if problem:
            wrong = True
            found.append(causes.invalid(path, _OMITTED, f"entry {index} {problem}"))
        known.setdefault(der, []).append(index)
    if wrong:
        return
    if not known:
        found.append(causes.invalid(path, _OMITTED, "at least one trust anchor must be provided"))
    for places in known.values():
        if len(places) > 1:
            told = f"duplicate trust anchor (indices [{' '.join(map(str, places))}])"
            found.append(causes.invalid(path, _OMITTED, told))


def _anchor_problem(type: str, headers: bool, der: bytes) -> str:
    from cryptography import x509

    if type != _CERTIFICATE:
        return f"has bad block type: {type}"
    if headers:
        return "has PEM block headers"
    certificate = _parsed_certificate(der)
    if certificate is None:
        return "does not parse as X.509"
    try:
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        authority = False
    return "" if authority else "does not have the CA bit set"


def pod_certificate_request(obj: Obj) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    signer = spec.get("signerName") or ""
    signer_name(signer, "spec.signerName", found)
    _user_annotations(spec.get("unverifiedUserAnnotations") or {}, "spec.unverifiedUserAnnotations", found)
    for owner, uid in (
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ):
        named(spec.get(owner) or "", f"spec.{owner}", names.check_dns1123_subdomain, found)
        value = spec.get(uid) or ""
        if not value:
            found.append(causes.invalid(f"spec.{uid}", "", "must not be empty"))
        if len(value.encode()) > _LONGEST_UID:
            found.append(causes.too_long(f"spec.{uid}", _LONGEST_UID))
    seconds = spec.get("maxExpirationSeconds")
    if seconds is None:
        found.append(causes.required("spec.maxExpirationSeconds", "must be set"))
        return found
    longest = _LONGEST_KUBERNETES_LIFE if is_kubernetes_signer(signer) else _LONGEST_LIFE
    if not _SHORTEST_LIFE <= seconds <= longest:
        told = f"must be in the range [{_SHORTEST_LIFE}, {longest}]"
        found.append(causes.invalid("spec.maxExpirationSeconds", seconds, told))
    request, key, proof = (
        _bytes(spec.get(name)) for name in ("stubPKCS10Request", "pkixPublicKey", "proofOfPossession")
    )
    if request and not key and not proof:
        _stub_request(request, "spec.stubPKCS10Request", found)
    elif key and proof and not request:
        _public_key(key, proof, spec, found)
    else:
        told = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
        found.append(_without_value("spec", told))
    return found


def _user_annotations(annotations: dict[str, str], path: str, found: Found) -> None:
    for key in map(str.lower, annotations):
        problems = names.check_qualified_name(key) if key else []
        if not key:
            found.append(causes.required(path))
        elif not problems and "/" not in key:
            problems = ['must be a domain-prefixed key (such as "acme.io/foo")']
        found += causes.invalid_each(path, key, problems)
    if sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items()) > ANNOTATIONS_LIMIT:
        found.append(causes.too_long(path, ANNOTATIONS_LIMIT))


def _stub_request(der: bytes, path: str, found: Found) -> None:
    if len(der) > _MOST_REQUEST:
        found.append(causes.too_long(path, _MOST_REQUEST))
        return
    request = _parsed_request(der)
    if request is None:
        found.append(_without_value(path, "must be a valid PKCS#10 CSR"))
        return
    wrong = _key_problem(request.public_key(), "elliptic public keys must use curve P256, P384, or P521")
    if wrong is not None:
        shown, told = wrong
        found.append(causes.invalid(path, shown, told) if shown else _without_value(path, told))
    elif not request.is_signature_valid:
        found.append(_without_value(path, "invalid signature"))


def _key_problem(key: PublicKeyTypes, curves: str) -> tuple[str, str] | None:
    """(what is shown, what is told)."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PublicKey):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
            return None
        return f"curve P-{key.curve.key_size}", curves
    if isinstance(key, rsa.RSAPublicKey):
        return None if key.key_size in _RSA_SIZES else (f"{key.key_size}-bit modulus", _RSA_SIZE)
    return "", _UNKNOWN_KEY


def _public_key(key: bytes, proof: bytes, spec: Obj, found: Found) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    path = "spec.pkixPublicKey"
    for name, value in (("pkixPublicKey", key), ("proofOfPossession", proof)):
        if len(value) > _MOST_REQUEST:
            found.append(causes.too_long(f"spec.{name}", _MOST_REQUEST))
            return
    try:
        public = load_der_public_key(key)
    except (ValueError, UnsupportedAlgorithm):
        told = "must be a valid PKIX-serialized public key"
        found.append(causes.invalid(path, spec["pkixPublicKey"], told))
        return
    wrong = _key_problem(public, "elliptic public keys must use curve P256 or P384")
    if wrong is not None:
        found.append(causes.invalid(path, wrong[0] or spec["pkixPublicKey"], wrong[1]))
        return
    uid = (spec.get("podUID") or "").encode()
    try:
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(proof, uid)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(proof, uid, ec.ECDSA(hashes.SHA256()))
        elif isinstance(public, rsa.RSAPublicKey):
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
            public.verify(proof, uid, scheme, hashes.SHA256())
    except InvalidSignature:
        found.append(_without_value("spec.proofOfPossession", _NOT_VERIFIED))


def pod_certificate_update(obj: Obj, old: Obj) -> Found:
    type = "certificates.PodCertificateRequestSpec"
    if go_equal(type, obj.get("spec"), old.get("spec")):
        return []
    return [causes.invalid("spec", go_value(type, obj.get("spec") or {}), causes.FIELD_IMMUTABLE)]


def _outcome(obj: Obj) -> str:
    listed = (obj.get("status") or {}).get("conditions") or ()
    return next(
        (one["type"] for one in listed if one.get("type") in _OUTCOMES and one.get("status") == "True"), ""
    )


def pod_certificate_status(obj: Obj, old: Obj, now: float) -> Found:
    found: Found = []
    status, before = obj.get("status") or {}, old.get("status") or {}
    listed = status.get("conditions") or ()
    known = 0
    for index, condition in enumerate(listed):
        path = f"status.conditions.[{index}]"
        type, said = condition.get("type") or "", condition.get("status") or ""
        if type not in _OUTCOMES:
            found.append(causes.not_supported(f"{path}.type", type, _OUTCOMES))
            continue
        known += 1
        if known > 1:
            told = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'
            found.append(causes.invalid(f"{path}.type", type, told))
        if said != "True":
            found.append(causes.not_supported(f"{path}.status", said, ("True",)))
    conditions(listed, "status.conditions", found)
    if found:
        return found
    told = ""
    if _outcome(old):
        if status != before:
            told = "immutable after PodCertificateRequest is issued, denied, or failed"
    elif _outcome(obj) in ("Denied", "Failed"):
        if any(value for key, value in status.items() if key != "conditions"):
            told = (
                "non-condition status fields must be empty when denying or failing the PodCertificateRequest"
            )
    elif _outcome(obj) == "Issued":
        _issued(status, old.get("spec") or {}, now, found)
    elif status != before:
        told = 'status is immutable unless transitioning to "Issued", "Denied", or "Failed"'
    if told:
        found.append(_without_value("status", told))
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _issued(status: Obj, spec: Obj, now: float, found: Found) -> None:
    chain, path = status.get("certificateChain") or "", "status.certificateChain"

    def wrong(where: str, shown: Any, told: str) -> None:
        found.append(causes.invalid(where, shown, told))

    if len(chain.encode()) > _MOST_CHAIN:
        found.append(causes.too_long(path, _MOST_CHAIN))
        return
    blocks = list(_pem(chain))
    if not blocks:
        wrong(path, chain, "issued certificate chain must contain at least one certificate")
        return
    if blocks[0][0] != _CERTIFICATE:
        wrong(path, chain, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
        return
    leaf = _parsed_certificate(blocks[0][2])
    if leaf is None:
        wrong(path, chain, "leaf certificate does not parse as valid X.509")
        return
    if not _same_key(leaf, spec):
        wrong(path, chain, "leaf certificate was not issued to the requested public key")
        return
    for key, told in (
        ("notBefore", "must be present and consistent with the issued certificate"),
        ("notAfter", "must be present and consistent with the issued certificate"),
        ("beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]"),
    ):
        if status.get(key) is None:
            found.append(causes.required(f"status.{key}", told))
    if found:
        return
    _validity(status, leaf, spec, now, found)
    if found:
        return
    for type, _, der in blocks[1:]:
        if type != _CERTIFICATE:
            # Upstream's words have this typing error.
            wrong(path, chain, "issued certificate chain must consist entirely of CERTFICATE PEM blocks")
            return
        if _parsed_certificate(der) is None:
            wrong(path, chain, "intermediate certificate does not parse as valid X.509")
            return


def _same_key(leaf: x509.Certificate, spec: Obj) -> bool:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if spec.get("stubPKCS10Request"):
        request = _parsed_request(_bytes(spec["stubPKCS10Request"]))
        wanted = b"" if request is None else request.public_key().public_bytes(*form)
    else:
        wanted = _bytes(spec.get("pkixPublicKey"))
    return leaf.public_key().public_bytes(*form) == wanted


def _validity(status: Obj, leaf: x509.Certificate, spec: Obj, now: float, found: Found) -> None:
    starts, ends, refresh = (_time(status[key]) for key in ("notBefore", "notAfter", "beginRefreshAt"))
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    longest = spec.get("maxExpirationSeconds") or 0
    today = datetime.fromtimestamp(now, UTC)
    checks = (
        (
            starts != leaf.not_valid_before_utc,
            "notBefore",
            "must be set to the NotBefore time encoded in the leaf certificate",
        ),
        (
            not today - _SLACK < starts < today + _SLACK,
            "notBefore",
            "must be set to within 5 minutes of kube-apiserver's current time",
        ),
        (
            ends != leaf.not_valid_after_utc,
            "notAfter",
            "must be set to the NotAfter time encoded in the leaf certificate",
        ),
        (life < timedelta(hours=1), "", "leaf certificate lifetime must be >= 1 hour"),
        (
            life > timedelta(seconds=longest),
            "",
            f"leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest})",
        ),
        (
            refresh < starts + _MARGIN,
            "beginRefreshAt",
            "must be at least 10 minutes after status.notBefore",
        ),
        (
            refresh > ends - _MARGIN,
            "beginRefreshAt",
            "must be at least 10 minutes before status.notAfter",
        ),
    )
    for wrong, key, told in checks:
        if wrong:
            shown: Any = rfc3339(_time(status[key]).timestamp()) if key else int(life.total_seconds() * 10**9)
            found.append(causes.invalid(f"status.{key or 'certificateChain'}", shown, told))
            return
