"""Names of certificate signers and of the trust bundles that carry them."""

from __future__ import annotations

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.values import Found

__all__ = ["bundle_name_problems", "is_kubernetes_signer", "signer_name"]

_DOMAIN = 253
_LONGEST = _DOMAIN + 1 + 253 + 63 + 1
"""``<fqdn>/<namespace>.<name>``"""


def is_kubernetes_signer(name: str) -> bool:
    host = name.partition("/")[0]
    return host == "kubernetes.io" or host.endswith(".kubernetes.io")


def signer_name(name: str, path: str, found: Found) -> None:
    if not name:
        found.append(causes.required(path))
        return
    segments = name.split("/")
    if len(segments) != 2:
        told = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        found.append(causes.invalid(path, name, told))
        return
    domain, rest = segments
    if len(domain) > _DOMAIN:
        found.append(causes.too_long(path, _DOMAIN))
    _labels(domain, path, names.check_dns1123_label, found)
    if "." not in domain:
        told = "should be a domain with at least two segments separated by dots"
        found.append(causes.invalid(path, domain, told))
    _labels(rest, path, names.check_dns1123_subdomain, found)
    if len(name) > _LONGEST:
        found.append(causes.too_long(path, _LONGEST))


def _labels(text: str, path: str, check: names.Check, found: Found) -> None:
    """The problems of the first part that has any."""
    for label in text.split("."):
        problems = check(label)
        if problems:
            found += [causes.invalid(path, text, f'validating label "{label}": {one}') for one in problems]
            return


def bundle_name_problems(name: str) -> list[str]:
    """A trust bundle's name as a volume tells it: with its signer in front, colons for slashes."""
    signer, colon, _ = name.rpartition(":")
    if not colon:
        return names.check_dns1123_subdomain(name)
    signer = signer.replace(":", "/")
    prefix = f"{signer.replace('/', ':')}:"
    if not signer:
        return ['ClusterTrustBundle without signer name must not have ":" in its name']
    return names.check_dns1123_subdomain(name.removeprefix(prefix))
