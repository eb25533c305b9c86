"""The sources of a projected volume."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.downward import downward_file
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.signers import (
    bundle_name_problems,
    is_kubernetes_signer,
    signer_name,
)
from kubernel_plugins.api.builtin.validation.values import (
    ANNOTATIONS_LIMIT,
    Found,
    Obj,
    label_selector,
    named,
    one_of,
    relative_unreserved_path,
    required,
    selector_value,
)

__all__ = ["projection_sources"]

_KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_SHORTEST_TOKEN = 600
_LONGEST_TOKEN = 1 << 32
_SHORTEST_CERTIFICATE = 3600
_LONGEST_CERTIFICATE = 91 * 24 * 3600
_LONGEST_KUBERNETES_CERTIFICATE = 24 * 3600


def projection_sources(
    sources: Iterable[Obj], path: str, key_to_path: Callable[[Obj, str, Found], None], found: Found
) -> None:
    """``path`` is the volume's ``projected``. No two sources may write the same file."""
    taken: set[str] = set()

    def take(file: str, told: str) -> None:
        if file in taken:
            found.append(causes.invalid(path, told, "conflicting duplicate paths"))
        taken.add(file)

    for index, source in enumerate(sources):
        where = f"{path}.sources[{index}]"
        for kind in ("secret", "configMap"):
            keyed = source.get(kind)
            if keyed is None:
                continue
            required(keyed, f"{where}.{kind}", found, "name")
            for number, item in enumerate(keyed.get("items") or ()):
                key_to_path(item, f"{where}.{kind}.items[{number}]", found)
                if item.get("path"):
                    take(item["path"], keyed.get("name") or "")
        for file in (source.get("downwardAPI") or {}).get("items") or ():
            downward_file(file, f"{where}.downwardAPI", found)
            if file.get("path"):
                take(file["path"], file["path"])
        if source.get("serviceAccountToken") is not None:
            _token(source["serviceAccountToken"], path, f"{where}.serviceAccountToken", found)
        bundle = source.get("clusterTrustBundle")
        if bundle is not None:
            _trust_bundle(bundle, f"{where}.clusterTrustBundle", found)
            take(bundle.get("path") or "", bundle.get("path") or "")
        certificate = source.get("podCertificate")
        if certificate is not None:
            _certificate(certificate, f"{where}.podCertificate", found)
            _certificate_files(certificate, f"{where}.podCertificate", take, found)
        if sum(value is not None for value in source.values()) > 1:
            found.append(causes.forbidden(where, "may not specify more than 1 volume type per source"))


def _token(token: Obj, volume: str, path: str, found: Found) -> None:
    seconds = token.get("expirationSeconds")
    if seconds is None:
        found.append(causes.required(f"{path}.expirationSeconds"))
    elif seconds < _SHORTEST_TOKEN:
        told = "may not specify a duration less than 10 minutes"
        found.append(causes.invalid(f"{path}.expirationSeconds", seconds, told))
    elif seconds > _LONGEST_TOKEN:
        told = "may not specify a duration larger than 2^32 seconds"
        found.append(causes.invalid(f"{path}.expirationSeconds", seconds, told))
    # Upstream names the volume's path here, not the source's.
    if not token.get("path"):
        found.append(causes.required(f"{volume}.path"))
    else:
        relative_unreserved_path(token["path"], f"{volume}.path", found)


def _trust_bundle(bundle: Obj, path: str, found: Found) -> None:
    name, signer = bundle.get("name"), bundle.get("signerName")
    if name is not None and signer is not None:
        shown = go_value("core.ClusterTrustBundleProjection", bundle)
        found.append(causes.invalid(path, shown, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            found.append(causes.required(f"{path}.name", "must be a valid object name"))
        for problem in bundle_name_problems(name):
            told = f"not a valid clustertrustbundlename: {problem}"
            found.append(causes.invalid(f"{path}.name", name, told))
        if bundle.get("labelSelector") is not None:
            shown = selector_value(bundle["labelSelector"])
            told = "labelSelector must be unset if name is specified"
            found.append(causes.invalid(f"{path}.labelSelector", shown, told))
    elif signer is not None:
        if not signer:
            found.append(causes.required(f"{path}.signerName", "must be a valid signer name"))
        signer_name(signer, f"{path}.signerName", found)
        label_selector(bundle.get("labelSelector"), f"{path}.labelSelector", found)
    else:
        found.append(causes.required(path, "either name or signerName must be specified"))
    required(bundle, path, found, "path")
    relative_unreserved_path(bundle.get("path") or "", f"{path}.path", found)


def _certificate(certificate: Obj, path: str, found: Found) -> None:
    signer = certificate.get("signerName") or ""
    signer_name(signer, f"{path}.signerName", found)
    user_annotations(certificate.get("userAnnotations"), f"{path}.userAnnotations", found)
    one_of(certificate.get("keyType"), f"{path}.keyType", _KEY_TYPES, found)
    seconds, where = certificate.get("maxExpirationSeconds"), f"{path}.maxExpirationSeconds"
    if seconds is None:
        return
    if seconds < _SHORTEST_CERTIFICATE:
        told = f"if provided, maxExpirationSeconds must be >= {_SHORTEST_CERTIFICATE}"
        found.append(causes.invalid(where, seconds, told))
    longest = _LONGEST_KUBERNETES_CERTIFICATE if is_kubernetes_signer(signer) else _LONGEST_CERTIFICATE
    if seconds > longest:
        found.append(
            causes.invalid(where, seconds, f"if provided, maxExpirationSeconds must be <= {longest}")
        )


def user_annotations(value: dict[str, str] | None, path: str, found: Found) -> None:
    """Keys with a domain in front, for a signer to read."""
    if not value:
        return
    for key in value:
        key = key.lower()
        before = len(found)
        named(key, path, names.check_qualified_name, found)
        if len(found) == before and "/" not in key:
            found.append(causes.invalid(path, key, 'must be a domain-prefixed key (such as "acme.io/foo")'))
    if sum(len(f"{key}{text}".encode()) for key, text in value.items()) > ANNOTATIONS_LIMIT:
        found.append(causes.too_long(path, ANNOTATIONS_LIMIT))


def _certificate_files(certificate: Obj, path: str, take: Callable[[str, str], None], found: Found) -> None:
    files = 0
    for key in ("credentialBundlePath", "keyPath", "certificateChainPath"):
        file = certificate.get(key)
        if file:
            files += 1
            relative_unreserved_path(file, f"{path}.{key}", found)
            take(file, file)
    if not files:
        told = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        found.append(causes.required(path, told))
