"""The checks of the CIS Kubernetes Benchmark (v1.12, section 5) that look at the objects of a running cluster.

Namespaces that begin with ``kube-`` and users, groups and service accounts of the system are left out: what they may
do is the cluster's own. What only its owner can judge (external stores of secrets, 5.4.2, and what namespaces divide,
5.6.1) is not here.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kubernel.errors import NotFound
from kubernel_plugins.auth.rules import Rule, compile_rules

from .findings import Finding, Result

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.store.records import Obj

__all__ = ["examine", "skipped"]

_RBAC = "v1.rbac.authorization.k8s.io"
_LISTS = {
    "namespaces": "namespaces",
    "pods": "pods",
    "accounts": "serviceaccounts",
    "roles": f"roles.{_RBAC}",
    "clusterroles": f"clusterroles.{_RBAC}",
    "rolebindings": f"rolebindings.{_RBAC}",
    "clusterrolebindings": f"clusterrolebindings.{_RBAC}",
    "networkpolicies": "networkpolicies.v1.networking.k8s.io",
    "requests": "certificatesigningrequests.v1.certificates.k8s.io",
    "services": "services",
    "deployments": "deployments.v1.apps",
    "statefulsets": "statefulsets.v1.apps",
    "daemonsets": "daemonsets.v1.apps",
    "jobs": "jobs.v1.batch",
    "cronjobs": "cronjobs.v1.batch",
}
_USED = ("pods", "services", "deployments", "statefulsets", "daemonsets", "jobs", "cronjobs")
_ENFORCE = "pod-security.kubernetes.io/enforce"
_ANYBODY = frozenset(
    ("system:authenticated", "system:unauthenticated", "system:anonymous", "system:serviceaccounts")
)
_UNKNOWN = frozenset(("system:unauthenticated", "system:anonymous"))
_PUBLIC = frozenset(("system:public-info-viewer",))
_OWN = ("system:", "kubernel:")
_MASTERS = "system:masters"

_Outcome = tuple[Result, list[str]]


class _Grant(NamedTuple):
    """One subject of one binding and what it gives. ``namespace`` is empty for the whole cluster."""

    kind: str
    name: str
    home: str
    """The namespace of a service account."""
    binding: str
    role: str
    namespace: str
    rules: tuple[Rule, ...]

    @property
    def anybody(self) -> bool:
        return self.name in _ANYBODY

    @property
    def outside(self) -> bool:
        """Whether it is somebody other than a part of the system."""
        if self.kind == "ServiceAccount":
            return not self.home.startswith("kube-")
        everyone = self.kind == "Group" and self.name.startswith("system:serviceaccounts")
        return everyone or self.anybody or not self.name.startswith(_OWN)

    def __str__(self) -> str:
        who = f"{self.home}/{self.name}" if self.home else self.name
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.kind} {who} by {self.binding}{where}"


class _Live:
    """The objects that checks look at. ``enforced``: the Pod Security level of a namespace without a label; empty when
    nobody looks at labels."""

    def __init__(self, lists: dict[str, Sequence[Obj]], enforced: str) -> None:
        self._lists = lists
        self._enforced = enforced
        self.grants = list(self._granted())

    def __getitem__(self, name: str) -> list[Obj]:
        """Those outside of the system's namespaces."""
        return [
            obj for obj in self._lists[name] if not obj["metadata"].get("namespace", "").startswith("kube-")
        ]

    @property
    def namespaces(self) -> list[Obj]:
        return [obj for obj in self._lists["namespaces"] if not obj["metadata"]["name"].startswith("kube-")]

    def level(self, namespace: Obj) -> str:
        if not self._enforced:
            return "nothing"
        label: str = (namespace["metadata"].get("labels") or {}).get(_ENFORCE, self._enforced)
        return label

    def _granted(self) -> Iterator[_Grant]:
        rules = {
            (kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): compile_rules(
                obj.get("rules")
            )
            for kind, name in (("Role", "roles"), ("ClusterRole", "clusterroles"))
            for obj in self._lists[name]
        }
        for name in ("clusterrolebindings", "rolebindings"):
            for binding in self._lists[name]:
                namespace = binding["metadata"].get("namespace", "")
                role = binding["roleRef"]
                home = namespace if role["kind"] == "Role" else ""
                for subject in binding.get("subjects") or ():
                    yield _Grant(
                        subject["kind"],
                        subject["name"],
                        subject.get("namespace", "") if subject["kind"] == "ServiceAccount" else "",
                        binding["metadata"]["name"],
                        role["name"],
                        namespace,
                        rules.get((role["kind"], home, role["name"]), ()),
                    )  # fmt: skip


def _full(obj: Obj) -> str:
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def _warn(found: list[str]) -> _Outcome:
    return ("WARN" if found else "PASS"), found


# --- rights


def _holders(live: _Live, wanted: Callable[[Rule], bool]) -> _Outcome:
    """Who outside of the system has a right: anybody at all is a failure, somebody is for the owner to decide."""
    grants = [grant for grant in live.grants if grant.outside and any(map(wanted, grant.rules))]
    if any(grant.anybody for grant in grants):
        return "FAIL", [str(grant) for grant in grants]
    return _warn([str(grant) for grant in grants])


def _right(verbs: str, *resources: tuple[str, str]) -> Callable[[_Live], _Outcome]:
    """Any of the verbs on any of the resources: (group, resource or resource/subresource)."""
    split = [(group, *resource.partition("/")[::2]) for group, resource in resources]

    def wanted(rule: Rule) -> bool:
        return any(map(rule.matches_verb, verbs.split())) and any(
            rule.matches_resource(*one) for one in split
        )

    return lambda live: _holders(live, wanted)


def _everything(rule: Rule) -> bool:
    return "*" in rule.verbs and "*" in rule.groups and "*" in rule.resources


def _takes_rights(rule: Rule) -> bool:
    group = "rbac.authorization.k8s.io"
    if any(map(rule.matches_verb, ("bind", "escalate"))) and any(
        rule.matches_resource(group, one, "") for one in ("roles", "clusterroles")
    ):
        return True
    impersonated = (("", "users"), ("", "groups"), ("", "serviceaccounts"), ("authentication.k8s.io", "uids"))
    return rule.matches_verb("impersonate") and any(
        rule.matches_resource(group, resource, "") for group, resource in impersonated
    )


def _unknown_users(live: _Live) -> _Outcome:
    found = [str(one) for one in live.grants if one.name in _UNKNOWN and one.role not in _PUBLIC]
    return ("FAIL" if found else "PASS"), found


def _wildcards(live: _Live) -> _Outcome:
    found = []
    for name, kind in (("clusterroles", "ClusterRole"), ("roles", "Role")):
        for role in live[name]:
            labels = role["metadata"].get("labels") or {}
            if labels.get("kubernetes.io/bootstrapping") == "rbac-defaults":
                continue
            if any(
                "*" in (*rule.verbs, *rule.groups, *rule.resources)
                for rule in compile_rules(role.get("rules"))
            ):
                found.append(f"{kind} {_full(role)}")
    return _warn(found)


def _masters(live: _Live) -> _Outcome:
    from cryptography import x509

    found = []
    for request in live["requests"]:
        status = request.get("status") or {}
        if not any(one["type"] == "Approved" for one in status.get("conditions") or ()):
            continue
        try:
            asked = x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))
        except ValueError:
            continue
        names = asked.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        if any(name.value == _MASTERS for name in names):
            found.append(f"CertificateSigningRequest {_full(request)}")
    found += [str(grant) for grant in live.grants if grant.name == _MASTERS and grant.role != "cluster-admin"]
    return _warn(found)


# --- service accounts and tokens


def _mounts(obj: Obj | None) -> bool | None:
    return None if obj is None else obj.get("automountServiceAccountToken")


def _default_accounts(live: _Live) -> _Outcome:
    found = [
        f"{_full(account)} mounts its token"
        for account in live["accounts"]
        if account["metadata"]["name"] == "default" and _mounts(account) is not False
    ]
    bound = [grant for grant in live.grants if grant.kind == "ServiceAccount" and grant.name == "default"]
    return _warn(found + [str(grant) for grant in bound if grant.outside])


def _tokens(live: _Live) -> _Outcome:
    accounts = {_full(account): account for account in live["accounts"]}
    found = []
    for pod in live["pods"]:
        name = pod["spec"].get("serviceAccountName") or "default"
        own, of_account = (
            _mounts(pod["spec"]),
            _mounts(accounts.get(f"{pod['metadata']['namespace']}/{name}")),
        )
        if (own if own is not None else of_account) is not False:
            found.append(_full(pod))
    return _warn(found)


# --- pods


def _admits(*levels: str) -> Callable[[_Live], _Outcome]:
    """Namespaces with pods in which less than one of ``levels`` is enforced."""

    def check(live: _Live) -> _Outcome:
        used = {pod["metadata"]["namespace"] for pod in live["pods"]}
        return _warn(
            [
                f"{obj['metadata']['name']} enforces {live.level(obj)}"
                for obj in live.namespaces
                if obj["metadata"]["name"] in used and live.level(obj) not in levels
            ]
        )

    return check


_BASELINE = _admits("baseline", "restricted")
_RESTRICTED = _admits("restricted")


def _containers(pod: Obj) -> Iterator[Obj]:
    for key in ("containers", "initContainers", "ephemeralContainers"):
        yield from pod["spec"].get(key) or ()


def _pods(concerns: Callable[[Obj, list[Obj]], bool]) -> Callable[[_Live], _Outcome]:
    return lambda live: _warn(
        [_full(pod) for pod in live["pods"] if concerns(pod["spec"], list(_containers(pod)))]
    )


def _secrets_in_environment(spec: Obj, containers: list[Obj]) -> bool:
    return any(
        "secretKeyRef" in (variable.get("valueFrom") or {})
        for container in containers
        for variable in container.get("env") or ()
    ) or any("secretRef" in source for container in containers for source in container.get("envFrom") or ())


def _unconfined(spec: Obj, containers: list[Obj]) -> bool:
    def confined(context: Any) -> bool:
        kind = ((context or {}).get("seccompProfile") or {}).get("type")
        return kind in ("RuntimeDefault", "Localhost")

    def open(container: Obj) -> bool:
        own = (container.get("securityContext") or {}).get("seccompProfile")
        return not confined(container.get("securityContext") if own else spec.get("securityContext"))

    return any(map(open, containers))


def _without_context(spec: Obj, containers: list[Obj]) -> bool:
    return not spec.get("securityContext") and any(not one.get("securityContext") for one in containers)


# --- namespaces


def _without_policies(live: _Live) -> _Outcome:
    covered = {policy["metadata"]["namespace"] for policy in live["networkpolicies"]}
    names = [obj["metadata"]["name"] for obj in live.namespaces]
    return _warn([name for name in names if name not in covered])


def _in_default(live: _Live) -> _Outcome:
    found = []
    for name in _USED:
        for obj in live[name]:
            meta = obj["metadata"]
            own = name == "services" and meta["name"] == "kubernetes"
            if meta["namespace"] == "default" and not own and not meta.get("ownerReferences"):
                found.append(f"{name}/{meta['name']}")
    return _warn(found)


_WEBHOOKS = tuple(
    ("admissionregistration.k8s.io", f"{kind}webhookconfigurations") for kind in ("validating", "mutating")
)
_LABEL = f"label the namespaces {_ENFORCE}="
_LESS = "bind roles with less, or to fewer"
_CHECKS: tuple[tuple[str, str, Callable[[_Live], _Outcome], str], ...] = (
    ("1.2.1", "nothing is granted to who is not known", _unknown_users, "delete the bindings"),
    ("5.1.1", "nobody else may do everything", lambda live: _holders(live, _everything), _LESS),
    ("5.1.2", "few may read Secrets", _right("get list watch", ("", "secrets")), _LESS),
    ("5.1.3", "roles name what they allow", _wildcards, "write verbs, groups and resources instead of *"),
    ("5.1.4", "few may create pods", _right("create", ("", "pods")), _LESS),
    (
        "5.1.5", "default service accounts are not used", _default_accounts,
        "set automountServiceAccountToken: false on them, and bind roles to accounts of their own",
    ),
    (
        "5.1.6", "tokens are mounted where they are needed", _tokens,
        "set automountServiceAccountToken: false on pods that do not ask the API, or on their service accounts",
    ),
    (
        "5.1.7", "system:masters is not used", _masters,
        "let those who have such certificates be of other groups, with roles bound to those",
    ),
    ("5.1.8", "few may bind, escalate and impersonate", lambda live: _holders(live, _takes_rights), _LESS),
    ("5.1.9", "few may create PersistentVolumes", _right("create", ("", "persistentvolumes")), _LESS),
    (
        "5.1.10", "few may reach nodes through their proxy",
        _right("get create update patch delete", ("", "nodes/proxy")), _LESS,
    ),
    (
        "5.1.11", "few may approve certificates",
        _right("update patch", ("certificates.k8s.io", "certificatesigningrequests/approval")), _LESS,
    ),
    ("5.1.12", "few may change admission webhooks", _right("create update patch delete", *_WEBHOOKS), _LESS),
    ("5.1.13", "few may make service account tokens", _right("create", ("", "serviceaccounts/token")), _LESS),
    ("5.2.2", "privileged containers are not admitted", _BASELINE, f"{_LABEL}baseline"),
    ("5.2.3", "pods in the host's process namespace are not admitted", _BASELINE, f"{_LABEL}baseline"),
    ("5.2.4", "pods in the host's IPC namespace are not admitted", _BASELINE, f"{_LABEL}baseline"),
    ("5.2.5", "pods in the host's network are not admitted", _BASELINE, f"{_LABEL}baseline"),
    ("5.2.6", "containers that can gain privileges are not admitted", _RESTRICTED, f"{_LABEL}restricted"),
    ("5.2.7", "containers of root are not admitted", _RESTRICTED, f"{_LABEL}restricted"),
    ("5.2.8", "containers with NET_RAW are not admitted", _RESTRICTED, f"{_LABEL}restricted"),
    ("5.2.9", "containers with other capabilities are not admitted", _RESTRICTED, f"{_LABEL}restricted"),
    ("5.2.10", "HostProcess containers are not admitted", _BASELINE, f"{_LABEL}baseline"),
    ("5.2.11", "hostPath volumes are not admitted", _BASELINE, f"{_LABEL}baseline"),
    ("5.2.12", "host ports are not admitted", _BASELINE, f"{_LABEL}baseline"),
    ("5.3.2", "every namespace has a NetworkPolicy", _without_policies, "create one in each of them"),
    ("5.4.1", "Secrets are files, not environment", _pods(_secrets_in_environment), "mount the Secrets as volumes"),
    (
        "5.6.2", "pods have a seccomp profile", _pods(_unconfined),
        "set securityContext.seccompProfile.type: RuntimeDefault in the pods",
    ),
    ("5.6.3", "pods have a security context", _pods(_without_context), "set securityContext in the pods or containers"),
    ("5.6.4", "the default namespace is not used", _in_default, "create namespaces for what is in it"),
)  # fmt: skip


async def examine(client: Client, enforced: str) -> list[Finding]:
    """Every check's result. ``enforced``: the Pod Security level of a namespace without a label, empty when nobody
    enforces any. What is not served is not there; ApiError when the cluster refuses otherwise."""

    async def listed(resource: str) -> Sequence[Obj]:
        try:
            return (await client.list(resource)).items
        except NotFound:
            return ()

    lists = await asyncio.gather(*map(listed, _LISTS.values()))
    live = _Live(dict(zip(_LISTS, lists, strict=True)), enforced)
    findings = []
    for number, title, check, remedy in _CHECKS:
        result, found = check(live)
        findings.append(Finding(number, title, result, remedy, tuple(found)))
    return findings


def skipped(why: str) -> list[Finding]:
    """The checks of a cluster that cannot be asked."""
    return [Finding(number, title, "SKIP", why) for number, title, _, _ in _CHECKS]
