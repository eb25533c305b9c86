"""A certificate authority in two files: EC P-256, made at the first start, used ever after."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kubernel.clock import RealClock
from kubernel.errors import PluginError
from kubernel.plugin.contract import KeyPair

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authority"]

_CA_DAYS = 3650
_OF_THE_KEY = frozenset(
    (
        "signing",
        "digital signature",
        "content commitment",
        "key encipherment",
        "data encipherment",
        "key agreement",
        "crl sign",
    )
)
_EARLIER = datetime.timedelta(minutes=5)


class Authority:
    """``kubernel.plugin.contract.CertificateAuthority``.

    The cryptography library is imported when a certificate is made, not at a restart. Validity counts
    from the machine's clock, by which TLS libraries judge it.
    """

    def __init__(self, certificate: bytes, key_file: Path) -> None:
        self._certificate = certificate
        self._key_file = key_file

    @classmethod
    def open(cls, directory: Path) -> Authority:
        """The authority in ``directory``, made there when there is none. PluginError for half of one."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate, key = directory / "ca.crt", directory / "ca.key"
        if certificate.exists() != key.exists():
            missing, present = (certificate, key) if key.exists() else (key, certificate)
            raise PluginError(
                f"auth/x509: {present} is there and {missing} is not: restore it, or remove both for a new authority "
                "(all client certificates and kubeconfigs then have to be issued again)"
            )
        if not key.exists():
            made = _make_authority()
            _write(key, made.key, 0o600)
            _write(certificate, made.certificate, 0o644)
        pem = certificate.read_bytes()
        if b"-----BEGIN CERTIFICATE-----" not in pem:
            raise PluginError(f"auth/x509: {certificate} is no PEM certificate")
        return cls(pem, key)

    @property
    def ca_certificate(self) -> bytes:
        return self._certificate

    def issue(
        self,
        common_name: str,
        *,
        organizations: Sequence[str] = (),
        names: Sequence[str] = (),
        usage: str = "client",
        days: int = 365,
    ) -> KeyPair:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        if usage not in ("client", "server"):
            raise ValueError(f'usage "{usage}" is neither "client" nor "server"')
        authority, signer = self._signer()
        key = ec.generate_private_key(ec.SECP256R1())
        now = _now()
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if usage == "client" else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name, organizations))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(min(now + datetime.timedelta(days=days), authority.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
        return _pair(builder.sign(signer, hashes.SHA256()), key)

    def sign(self, request: bytes, usages: Sequence[str], seconds: int) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding

        authority, signer = self._signer()
        wanted = x509.load_pem_x509_csr(request)
        now = _now()
        end = now + datetime.timedelta(seconds=seconds)
        builder = (
            x509.CertificateBuilder()
            .subject_name(wanted.subject)
            .issuer_name(authority.subject)
            .public_key(wanted.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(min(end, authority.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
        )
        if (bits := _usage_bits(usages)) is not None:
            builder = builder.add_extension(bits, critical=True)
        if purposes := _purposes(usages):
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        try:
            names = wanted.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            builder = builder.add_extension(names.value, critical=False)
        except x509.ExtensionNotFound:
            pass
        return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _signer(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        authority = x509.load_pem_x509_certificate(self._certificate)
        signer = load_pem_private_key(self._key_file.read_bytes(), None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise PluginError(f"auth/x509: {self._key_file} is no EC key")
        return authority, signer


def _usage_bits(usages: Sequence[str]) -> x509.KeyUsage | None:
    """None for usages that say nothing of the key: any use is meant then, no bits would mean none. Nobody
    signs certificates with it. Source: k8s.io/kubernetes/pkg/controller/certificates/authority/policies.go."""
    from cryptography import x509

    given = set(usages)
    if not given & _OF_THE_KEY:
        return None
    agreement = "key agreement" in given
    return x509.KeyUsage(
        digital_signature=bool(given & {"signing", "digital signature"}),
        content_commitment="content commitment" in given,
        key_encipherment="key encipherment" in given,
        data_encipherment="data encipherment" in given,
        key_agreement=agreement,
        key_cert_sign=False,
        crl_sign="crl sign" in given,
        encipher_only=agreement and "encipher only" in given,
        decipher_only=agreement and "decipher only" in given,
    )


def _purposes(usages: Sequence[str]) -> list[x509.ObjectIdentifier]:
    from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

    known = {
        "any": Purpose.ANY_EXTENDED_KEY_USAGE,
        "server auth": Purpose.SERVER_AUTH,
        "client auth": Purpose.CLIENT_AUTH,
        "code signing": Purpose.CODE_SIGNING,
        "email protection": Purpose.EMAIL_PROTECTION,
        "s/mime": Purpose.EMAIL_PROTECTION,
        "timestamping": Purpose.TIME_STAMPING,
        "ocsp signing": Purpose.OCSP_SIGNING,
    }
    return list(dict.fromkeys(known[usage] for usage in usages if usage in known))


def _make_authority() -> KeyPair:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("kubernetes", ())
    now = _now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("kubernetes")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def _now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(RealClock().time()), datetime.UTC)


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, entry) for entry in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, sign: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(certificate: x509.Certificate, key: object) -> KeyPair:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("an EC key is wanted")
    return KeyPair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
