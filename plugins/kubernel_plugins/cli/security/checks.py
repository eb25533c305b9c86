"""The checks of the CIS Kubernetes Benchmark (v1.12) that look at the configuration and the files of a cluster.

What has no counterpart (etcd's own certificates, a kubelet that listens, static pod manifests) is left out.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubernel.clock import RealClock
from kubernel.config import Choice, Configuration

from .findings import Finding, Result

__all__ = ["enforced", "examine"]


class _Cluster:
    """The configuration and the files of a cluster."""

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.data_dir = config.cluster.data_dir

    def on(self, role: str, name: str) -> bool:
        return self.config.enabled(role, name)

    def setting(self, role: str, name: str, key: str, default: Any) -> Any:
        choice = self._choice(role, name)
        if choice is None or not isinstance(choice.section.value, Mapping):
            return default
        found = choice.section.value.get(key)
        return default if found is None else _plain(found)

    def _choice(self, role: str, name: str) -> Choice | None:
        return next((one for one in self.config.plugins.get(role, ()) if one.name == name), None)

    def private(self, *patterns: str) -> bool:
        """Whether what there is of these files is readable by its owner only."""
        return all(_owners(path) for pattern in patterns for path in self.data_dir.glob(pattern))

    def is_private(self) -> bool:
        return not self.data_dir.exists() or _owners(self.data_dir)


def _owners(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def _plain(value: Any) -> Any:
    inner = getattr(value, "value", value)
    if isinstance(inner, list):
        return [_plain(one) for one in inner]
    if isinstance(inner, dict):
        return {key: _plain(one) for key, one in inner.items()}
    return inner


def _private(*patterns: str) -> Callable[[_Cluster], bool]:
    return lambda cluster: cluster.private(*patterns)


def _on(role: str, name: str) -> Callable[[_Cluster], bool]:
    return lambda cluster: cluster.on(role, name)


def _health_only(cluster: _Cluster) -> bool:
    paths = cluster.setting("auth", "anonymous", "paths", ["/healthz", "/livez", "/readyz", "/version"])
    harmless = ("/healthz", "/livez", "/readyz", "/version")
    return not cluster.on("auth", "anonymous") or all(path in harmless for path in paths)


def _no_fixed_tokens(cluster: _Cluster) -> bool:
    return not cluster.setting("auth", "token", "tokens", {}) and not cluster.setting(
        "auth", "token", "file", ""
    )


def _at_least(key: str, wanted: int) -> Callable[[_Cluster], bool]:
    return lambda cluster: cluster.setting("audit", "log", key, wanted) >= wanted


def _provider(cluster: _Cluster) -> str:
    """What Secrets are encrypted with; empty is nothing."""
    if not cluster.on("store", "sqlite"):
        return "its own"  # kept in memory, or by a store of another kind
    path = cluster.setting("store", "sqlite", "encryption", "pki/encryption.yaml")
    if not path:
        return ""
    from kubernel_plugins.store.encryption import Encryption
    from kubernel_plugins.store.encryption.ciphers import PREFIX

    file = Path(cluster.data_dir) / path
    if not file.is_file():
        return "aesgcm"  # made at the first start
    providers = Encryption.read(file).of("secrets")
    if providers is None:
        return ""
    return providers.ciphers[0].prefix.removeprefix(PREFIX).partition(b":")[0].decode()


def _one_owner(*patterns: str) -> Callable[[_Cluster], bool]:
    """Whether these files belong to whom the data directory belongs to."""

    def check(cluster: _Cluster) -> bool:
        files = [path for pattern in patterns for path in cluster.data_dir.glob(pattern)]
        return all(path.stat().st_uid == cluster.data_dir.stat().st_uid for path in files)

    return check


def _not_writable(*patterns: str) -> Callable[[_Cluster], bool]:
    return lambda cluster: (
        not any(
            path.stat().st_mode & 0o022 for pattern in patterns for path in cluster.data_dir.glob(pattern)
        )
    )


def _audits_quietly(cluster: _Cluster) -> bool:
    """Whether bodies that hold secrets are kept out of the audit log."""
    return all(
        level <= 1 for level in _levels(cluster, "secrets configmaps tokenreviews.authentication.k8s.io")
    )


def _audits_enough(cluster: _Cluster) -> bool:
    told = "secrets configmaps tokenreviews.authentication.k8s.io pods/exec pods/portforward pods/proxy services/proxy"
    writes = _levels(cluster, "pods deployments.apps", "create", "update", "patch", "delete")
    return all(level >= 1 for level in (*_levels(cluster, told), *writes))


def _levels(cluster: _Cluster, resources: str, *verbs: str) -> list[int]:
    """How much the audit policy tells of what a user does to each of the resources."""
    from kubernel.registry.attributes import Attributes
    from kubernel.registry.request import UserInfo
    from kubernel_plugins.api.http.audit_policy import read

    policy = read(cluster.setting("api", "http", "auditPolicy", ""))
    user = UserInfo("jane", ("system:authenticated",))
    found = []
    for one in resources.split():
        resource, _, group = one.partition(".")
        plural, _, sub = resource.partition("/")
        for verb in verbs or ("get", "create"):
            if plural == "tokenreviews" and verb != "create":
                continue
            asked = Attributes(
                user=user,
                verb=verb,
                group=group,
                resource=plural,
                subresource=sub,
                namespace="default",
                name="x",
            )
            found.append(policy.verdict(asked).level)
    return found


def _certificates_last(cluster: _Cluster) -> bool:
    import json

    now = RealClock().time()
    for note in (cluster.data_dir / "pki").glob("*.json"):
        try:
            if json.loads(note.read_text())["expires"] <= now:
                return False
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return True


_MANUAL: Result = "WARN"
_CHECKS: tuple[tuple[str, str, Callable[[_Cluster], bool], Result, str], ...] = (
    (
        "1.1.11", "the data directory is its owner's alone",
        lambda cluster: cluster.is_private() and cluster.private("store/*"), "FAIL",
        "chmod 700 the data directory, chmod 600 the files in store/",
    ),
    (
        "1.1.12", "the database belongs to the data directory's owner", _one_owner("store/*"), "FAIL",
        "chown the files in store/",
    ),
    (
        "1.1.13", "the administrator's kubeconfig is its owner's alone", _private("kubeconfig"), "FAIL",
        "chmod 600 kubeconfig",
    ),
    (
        "1.1.14", "the administrator's kubeconfig belongs to the data directory's owner",
        _one_owner("kubeconfig"), "FAIL", "chown kubeconfig",
    ),
    (
        "1.1.19", "certificates and keys belong to the data directory's owner", _one_owner("pki", "pki/*"), "FAIL",
        "chown the files in pki/",
    ),
    ("1.1.20", "nobody else may write certificates", _not_writable("pki/*.crt"), "FAIL", "chmod 644 pki/*.crt"),
    (
        "1.1.21", "private keys are their owner's alone", _private("pki/*.key", "pki/encryption.yaml"), "FAIL",
        "chmod 600 pki/*.key pki/encryption.yaml",
    ),
    (
        "1.2.1", "anonymous requests reach health and version alone", _health_only, "FAIL",
        "take other paths out of plugins.auth.anonymous.paths",
    ),
    (
        "1.2.2", "no fixed tokens", _no_fixed_tokens, "FAIL",
        "use client certificates, service accounts or OpenID Connect instead of plugins.auth.token",
    ),
    (
        "1.2.3", "external IPs of services are denied", _on("admission", "deny_service_external_ips"), _MANUAL,
        "switch on plugins.admission.deny_service_external_ips where users are not trusted with addresses",
    ),
    (
        "1.2.6", "requests are authorized",
        lambda cluster: cluster.on("auth", "rbac") or cluster.on("auth", "authorization_webhook"), "FAIL",
        "switch on plugins.auth.rbac",
    ),
    ("1.2.7", "nodes are authorized by what concerns them", _on("auth", "node"), "FAIL", "switch on plugins.auth.node"),
    ("1.2.8", "users are authorized by roles", _on("auth", "rbac"), "FAIL", "switch on plugins.auth.rbac"),
    (
        "1.2.9", "events are limited", _on("admission", "event_rate_limit"), _MANUAL,
        "switch on plugins.admission.event_rate_limit with limits that suit the cluster",
    ),
    (
        "1.2.11", "images are always pulled", _on("admission", "always_pull_images"), _MANUAL,
        "switch on plugins.admission.always_pull_images where users must not run each other's images",
    ),
    (
        "1.2.12", "pods have service accounts", _on("admission", "serviceaccount"), "FAIL",
        "switch on plugins.admission.serviceaccount",
    ),
    (
        "1.2.13", "nothing is created in namespaces that go", _on("admission", "namespace_lifecycle"), "FAIL",
        "switch on plugins.admission.namespace_lifecycle",
    ),
    (
        "1.2.14", "nodes write about themselves alone", _on("admission", "node_restriction"), "FAIL",
        "switch on plugins.admission.node_restriction",
    ),
    (
        "1.2.16", "there is an audit log, its owner's alone",
        lambda cluster: cluster.on("audit", "log") and cluster.private("logs/audit*"), "FAIL",
        "switch on plugins.audit.log, chmod 600 logs/audit*",
    ),
    (
        "1.2.17", "audit logs are kept for 30 days", _at_least("maxAge", 30), "FAIL",
        "set plugins.audit.log.maxAge to 30",
    ),
    (
        "1.2.18", "10 audit logs are kept", _at_least("maxBackups", 10), "FAIL",
        "set plugins.audit.log.maxBackups to 10",
    ),
    (
        "1.2.19", "audit logs are rotated at 100 MB, not before", _at_least("maxSize", 100), "FAIL",
        "set plugins.audit.log.maxSize to 100",
    ),
    (
        "1.2.24", "certificates have not ended", _certificates_last, "FAIL",
        "kubernel certs renew",
    ),
    (
        "1.2.27", "Secrets are encrypted at rest", lambda cluster: bool(_provider(cluster)), "FAIL",
        "set plugins.store.sqlite.encryption, with a provider other than identity in the first place",
    ),
    (
        "1.2.28", "Secrets are encrypted with what the benchmark names",
        lambda cluster: _provider(cluster) != "aesgcm", _MANUAL,
        "aesgcm needs another key before one has encrypted 2^32 values; secretbox does not",
    ),
    (
        "3.2.1", "requests are told to an audit plugin",
        lambda cluster: bool(cluster.config.plugins.get("audit")), "FAIL", "switch on plugins.audit.log",
    ),
    (
        "3.2.2", "the audit policy keeps secrets out", _audits_quietly, "FAIL",
        "tell Secrets, ConfigMaps and TokenReviews at the level Metadata, in the policy plugins.api.http.auditPolicy",
    ),
    (
        "3.2.2", "the audit policy covers what matters", _audits_enough, _MANUAL,
        "have plugins.api.http.auditPolicy tell Secrets, ConfigMaps, TokenReviews, writes, exec, forwards and proxies",
    ),
    (
        "5.2.1", "the Pod Security Standards can be enforced", _on("admission", "pod_security"), "FAIL",
        "switch on plugins.admission.pod_security",
    ),
    (
        "5.2.2", "namespaces without labels do not allow privileged pods",
        lambda cluster: enforced(cluster.config) in ("baseline", "restricted"), _MANUAL,
        "set plugins.admission.pod_security.defaults.enforce to baseline or restricted",
    ),
    (
        "5.3.1", "the network can enforce NetworkPolicies", lambda cluster: not cluster.on("network", "host"), _MANUAL,
        "the network of the host separates nobody: use another plugin of role network, or a cluster for each tenant",
    ),
    (
        "5.5.1", "where images come from is decided", _on("admission", "image_policy"), _MANUAL,
        "switch on plugins.admission.image_policy",
    ),
)  # fmt: skip


def enforced(config: Configuration) -> str:
    """The Pod Security level of a namespace without a label; empty when nobody enforces any."""
    cluster = _Cluster(config)
    if not cluster.on("admission", "pod_security"):
        return ""
    level: str = cluster.setting("admission", "pod_security", "defaults", {}).get("enforce", "privileged")
    return level


def examine(config: Configuration) -> list[Finding]:
    """Every check's result, in the benchmark's order."""
    cluster = _Cluster(config)
    return [
        Finding(number, title, "PASS" if holds(cluster) else otherwise, remedy)
        for number, title, holds, otherwise, remedy in _CHECKS
    ]
