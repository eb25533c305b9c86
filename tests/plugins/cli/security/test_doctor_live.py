"""What ``kubernel doctor --security`` finds in a running cluster: every check passed and not passed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubernel.cli.main import main
from kubernel.testing import Cluster
from kubernel_plugins.cli.security import live
from kubernel_plugins.cli.security.findings import Finding

Obj = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
PLUGINS = {"auth": ["rbac"], "controller": ["bootstrap", "serviceaccount"], "scheduler": None, "node": None}
OPEN = {"5.1.5", "5.3.2"}
"""What every new cluster has: a default account that mounts its token, a namespace without a NetworkPolicy."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster({"plugins": PLUGINS}) as made:
        made.wait(lambda: made.find("serviceaccounts", "default"))
        yield made


def findings(cluster: Cluster, enforced: str = "privileged") -> dict[str, Finding]:
    return {one.id: one for one in cluster.run(live.examine(cluster.client(), enforced))}


def role(
    name: str, verbs: str, resource: str, group: str = "", kind: str = "ClusterRole", **rule: Any
) -> Obj:
    rules = [{"verbs": verbs.split(), "apiGroups": [group], "resources": [resource], **rule}]
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": name}, "rules": rules}


def bound(name: str, to: str, subject: Obj | str = "jane", kind: str = "ClusterRole") -> Obj:
    """By a RoleBinding for a Role, else by a ClusterRoleBinding."""
    if isinstance(subject, str):
        subject = {"kind": "User", "name": subject, "apiGroup": RBAC}
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding" if kind == "Role" else "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": to},
        "subjects": [subject],
    }


def group(name: str) -> Obj:
    return {"kind": "Group", "name": name, "apiGroup": RBAC}


def may(verbs: str, resource: str, api: str = "") -> list[Obj]:
    return [role("some", verbs, resource, api), bound("grant", "some")]


def pod(name: str = "web", *, container: Obj | None = None, **spec: Any) -> Obj:
    main = {"name": "main", "image": "app:1", **(container or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [main], **spec},
    }


def account(name: str, mounts: bool | None = None) -> Obj:
    more = {} if mounts is None else {"automountServiceAccountToken": mounts}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}, **more}


JANE = "User jane by grant"
SECRET = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}


@pytest.mark.parametrize(
    ("number", "objects", "result", "found"),
    [
        pytest.param("1.2.1", [bound("b", "view", group("system:unauthenticated"))], "FAIL",
                     ["Group system:unauthenticated by b"], id="anonymous-group"),
        pytest.param("1.2.1", [bound("b", "view", "system:anonymous")], "FAIL",
                     ["User system:anonymous by b"], id="anonymous-user"),
        pytest.param("5.1.1", [bound("grant", "cluster-admin")], "WARN", [JANE], id="cluster-admin"),
        pytest.param("5.1.1", [bound("b", "cluster-admin", group("system:authenticated"))], "FAIL",
                     ["Group system:authenticated by b"], id="cluster-admin-for-all"),
        pytest.param("5.1.1", [role("all", "*", "*", "*"), bound("grant", "all")], "WARN", [JANE],
                     id="cluster-admin-by-another-name"),
        pytest.param("5.1.2", may("list", "secrets"), "WARN", [JANE], id="secrets"),
        pytest.param("5.1.2", [role("some", "get", "secrets", kind="Role"), bound("grant", "some", kind="Role")],
                     "WARN", [f"{JANE} in default"], id="secrets-of-a-namespace"),
        pytest.param("5.1.3", [role("wide", "get", "*")], "WARN", ["ClusterRole wide"], id="wildcard"),
        pytest.param("5.1.3", [role("wide", "*", "pods", kind="Role")], "WARN", ["Role default/wide"],
                     id="wildcard-in-a-namespace"),
        pytest.param("5.1.4", may("create", "pods"), "WARN", [JANE], id="pods"),
        pytest.param("5.1.4", [bound("b", "edit", group("system:serviceaccounts:default"))], "WARN",
                     ["Group system:serviceaccounts:default by b"], id="accounts-of-a-namespace"),
        pytest.param("5.1.6", [account("app"), pod(serviceAccountName="app")], "WARN", ["default/web"], id="token"),
        pytest.param("5.1.8", may("escalate", "clusterroles", RBAC), "WARN", [JANE], id="escalate"),
        pytest.param("5.1.8", may("bind", "roles", RBAC), "WARN", [JANE], id="bind"),
        pytest.param("5.1.8", may("impersonate", "users"), "WARN", [JANE], id="impersonate"),
        pytest.param("5.1.9", may("create", "persistentvolumes"), "WARN", [JANE], id="volumes"),
        pytest.param("5.1.10", may("get", "nodes/proxy"), "WARN", [JANE], id="node-proxy"),
        pytest.param("5.1.11", may("update", "certificatesigningrequests/approval", "certificates.k8s.io"),
                     "WARN", [JANE], id="approval"),
        pytest.param("5.1.12", may("patch", "mutatingwebhookconfigurations", "admissionregistration.k8s.io"),
                     "WARN", [JANE], id="webhooks"),
        pytest.param("5.1.13", may("create", "serviceaccounts/token"), "WARN", [JANE], id="token-requests"),
        pytest.param("5.4.1", [pod(container={"env": [{"name": "A", **SECRET}]})], "WARN", ["default/web"],
                     id="secret-in-a-variable"),
        pytest.param("5.4.1", [pod(container={"envFrom": [{"secretRef": {"name": "s"}}]})], "WARN", ["default/web"],
                     id="secret-as-environment"),
        pytest.param("5.6.2", [pod()], "WARN", ["default/web"], id="seccomp"),
        pytest.param("5.6.3", [pod()], "WARN", ["default/web"], id="security-context"),
        pytest.param("5.6.4", [pod()], "WARN", ["pods/web"], id="default-namespace"),
    ],
)  # fmt: skip
def test_a_check_is_passed_until_something_is_found(
    cluster: Cluster, number: str, objects: list[Obj], result: str, found: list[str]
) -> None:
    before = findings(cluster)[number]
    assert (before.result, before.found) == ("PASS", ())
    cluster.apply(objects)
    after = findings(cluster)[number]
    assert (after.result, list(after.found)) == (result, found)
    assert after.remedy


def test_a_new_cluster_has_nothing_but_what_its_owner_has_to_decide(cluster: Cluster) -> None:
    assert {one.id for one in findings(cluster).values() if one.result != "PASS"} == OPEN


def test_default_accounts_pass_when_they_mount_nothing_and_are_bound_to_nothing(cluster: Cluster) -> None:
    assert findings(cluster)["5.1.5"].found == ("default/default mounts its token",)
    cluster.patch("serviceaccounts", "default", {"automountServiceAccountToken": False})
    assert findings(cluster)["5.1.5"].result == "PASS"
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    cluster.apply(bound("b", "view", subject))
    assert findings(cluster)["5.1.5"].found == ("ServiceAccount default/default by b",)


@pytest.mark.parametrize(
    ("of_account", "of_pod", "mounted"),
    [
        pytest.param(None, None, True, id="nobody-says"),
        pytest.param(False, None, False, id="account-says-no"),
        pytest.param(False, True, True, id="pod-decides-yes"),
        pytest.param(True, False, False, id="pod-decides-no"),
    ],
)
def test_a_token_is_mounted_as_pod_and_account_say(
    cluster: Cluster, of_account: bool | None, of_pod: bool | None, mounted: bool
) -> None:
    more = {} if of_pod is None else {"automountServiceAccountToken": of_pod}
    cluster.apply([account("app", of_account), pod(serviceAccountName="app", **more)])
    assert findings(cluster)["5.1.6"].found == (("default/web",) if mounted else ())


def signing_request(name: str, organization: str) -> Obj:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "eve"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization),
        ]
    )
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": pem, "signerName": "example.com/own", "usages": ["client auth"]}
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": spec,
    }


def test_an_approved_certificate_of_system_masters_is_found(cluster: Cluster) -> None:
    cluster.apply([signing_request("one", "devs"), signing_request("two", "system:masters")])
    assert findings(cluster)["5.1.7"].result == "PASS"
    condition = {"type": "Approved", "status": "True", "reason": "Me", "message": ""}
    for name in ("one", "two"):
        cluster.patch(
            "certificatesigningrequests",
            name,
            {"status": {"conditions": [condition]}},
            subresource="approval",
        )
    found = findings(cluster)["5.1.7"]
    assert (found.result, found.found) == ("WARN", ("CertificateSigningRequest two",))


BASELINE = ("5.2.2", "5.2.3", "5.2.4", "5.2.5", "5.2.10", "5.2.11", "5.2.12")
RESTRICTED = ("5.2.6", "5.2.7", "5.2.8", "5.2.9")


@pytest.mark.parametrize(
    ("label", "default", "wanting"),
    [
        pytest.param("", "privileged", {*BASELINE, *RESTRICTED}, id="no-label"),
        pytest.param("", "restricted", set(), id="restricted-by-default"),
        pytest.param("baseline", "privileged", {*RESTRICTED}, id="baseline"),
        pytest.param("restricted", "privileged", set(), id="restricted"),
        pytest.param("restricted", "", {*BASELINE, *RESTRICTED}, id="nobody-enforces-labels"),
    ],
)
def test_namespaces_with_pods_must_enforce_a_standard(
    cluster: Cluster, label: str, default: str, wanting: set[str]
) -> None:
    empty = findings(cluster, default)
    assert all(empty[number].result == "PASS" for number in (*BASELINE, *RESTRICTED))
    cluster.apply(pod())
    if label:
        cluster.patch("namespaces", "default", {"metadata": {"labels": {live._ENFORCE: label}}}, namespace="")
    after = findings(cluster, default)
    assert {number for number in (*BASELINE, *RESTRICTED) if after[number].result == "WARN"} == wanting
    assert all(after[number].found[0].startswith("default enforces") for number in wanting)


def test_a_network_policy_covers_its_namespace(cluster: Cluster) -> None:
    assert findings(cluster)["5.3.2"].found == ("default",)
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny"},
        "spec": {"podSelector": {}},
    }
    cluster.apply(policy)
    assert findings(cluster)["5.3.2"].result == "PASS"


@pytest.mark.parametrize(
    ("spec", "container", "found"),
    [
        pytest.param({"type": "RuntimeDefault"}, None, set(), id="of-the-pod"),
        pytest.param(None, {"type": "RuntimeDefault"}, set(), id="of-the-container"),
        pytest.param({"type": "RuntimeDefault"}, {"type": "Unconfined"}, {"5.6.2"}, id="container-decides"),
        pytest.param({"type": "Unconfined"}, None, {"5.6.2"}, id="unconfined"),
    ],
)
def test_a_seccomp_profile_is_the_containers_or_the_pods(
    cluster: Cluster, spec: Obj | None, container: Obj | None, found: set[str]
) -> None:
    def context(profile: Obj | None) -> Obj:
        return {} if profile is None else {"securityContext": {"seccompProfile": profile}}

    cluster.apply(pod(container=context(container), **context(spec)))
    after = findings(cluster)
    assert {number for number in ("5.6.2", "5.6.3") if after[number].result != "PASS"} == found


def test_parts_of_the_system_and_its_namespaces_are_left_out(cluster: Cluster) -> None:
    subjects: Sequence[Obj] = (
        {"kind": "ServiceAccount", "name": "part", "namespace": "kube-system"},
        {"kind": "User", "name": "system:kube-scheduler", "apiGroup": RBAC},
        group("system:masters"),
    )
    cluster.apply([bound(f"b{number}", "cluster-admin", subject) for number, subject in enumerate(subjects)])
    cluster.wait(lambda: cluster.find("serviceaccounts", "default", "kube-system"))
    cluster.apply(pod(), namespace="kube-system")
    assert {one.id for one in findings(cluster).values() if one.result != "PASS"} == OPEN


def test_the_command_asks_a_running_cluster_and_says_when_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    arguments = ["doctor", "--security", "--data-dir", str(data)]
    plugins = {**PLUGINS, "store": "sqlite", "auth": ["x509", "rbac"]}
    with Cluster({"plugins": plugins}, data_dir=data, https=True):
        pass
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "[SKIP] 5.1.1" in text
    assert 'left out: the cluster "kubernel" does not run; start it with `kubernel up`' in text
    assert main([*arguments, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["result"] for one in told if one["id"] == "5.1.1"} == {"SKIP"}
    assert [one["id"] for one in told] == sorted(
        (one["id"] for one in told), key=lambda number: [int(part) for part in number.split(".")]
    )
