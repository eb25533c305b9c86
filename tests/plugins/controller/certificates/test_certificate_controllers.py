"""Certificate requests from asking to signing to forgetting, and bootstrap tokens."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubernel.objects import conditions, meta, times
from kubernel.testing import Cluster

REQUESTS = "certificatesigningrequests.v1.certificates.k8s.io"
CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
KEY = ec.generate_private_key(ec.SECP256R1())
USAGES = ("digital signature", "client auth")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster({"plugins": {"auth": ["x509", "rbac"]}}) as made:
        yield made


@pytest.fixture
def fresh() -> Iterator[Cluster]:
    with Cluster({"plugins": {"auth": ["x509", "rbac"]}}) as made:
        yield made


def pem(name: str, *organizations: str, names: Sequence[str] = ()) -> bytes:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        alternatives: list[x509.GeneralName] = []
        for one in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(one)))
            except ValueError:
                alternatives.append(x509.DNSName(one))
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def ask(
    cluster: Cluster,
    name: str,
    request: bytes,
    signer: str = CLIENT,
    usages: Sequence[str] = USAGES,
    *,
    user: str = "",
    groups: Sequence[str] = (),
    approve: bool = True,
    **spec: Any,
) -> dict[str, Any]:
    wanted = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": signer,
            "usages": list(usages),
            **spec,
        },
    }
    client = cluster.client(user, groups) if user else cluster.client()
    cluster.run(client.create(REQUESTS, wanted))
    cluster.settle()
    if approve:
        decide(cluster, name, "Approved")
    return cluster.get(REQUESTS, name)


def decide(cluster: Cluster, name: str, type: str) -> None:
    condition = {"type": type, "status": "True", "reason": "Test", "message": ""}
    change = {"status": {"conditions": [condition]}}
    cluster.patch(REQUESTS, name, change, subresource="approval")


def certificate(found: dict[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(found["status"]["certificate"]))


def test_an_approved_request_is_signed_for_its_key_and_subject(cluster: Cluster) -> None:
    made = certificate(ask(cluster, "client", pem("jane", "team")))
    assert made.public_key() == KEY.public_key()
    assert made.subject.rfc4514_string() == "CN=jane,O=team"
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    authority = cluster.kernel.hooks.certificate_authority()
    assert authority is not None
    issuer = x509.load_pem_x509_certificate(authority.ca_certificate)
    made.verify_directly_issued_by(issuer)


def test_nothing_is_signed_before_it_is_approved_or_after_it_was_denied(cluster: Cluster) -> None:
    found = ask(cluster, "waiting", pem("jane"), approve=False)
    assert "certificate" not in found["status"]
    decide(cluster, "waiting", "Denied")
    cluster.settle()
    assert "certificate" not in cluster.get(REQUESTS, "waiting")["status"]


def test_other_signers_requests_are_left_to_them(cluster: Cluster) -> None:
    found = ask(cluster, "other", pem("jane"), "acme.dev/signer")
    assert "certificate" not in found["status"]


def test_a_shorter_validity_may_be_asked_for(cluster: Cluster) -> None:
    made = certificate(ask(cluster, "short", pem("jane"), expirationSeconds=3600))
    assert (made.not_valid_after_utc - made.not_valid_before_utc).total_seconds() == 3600 + 300


NODE = ("system:node:a", "system:nodes")
KUBELET_USAGES = ("digital signature", "key encipherment", "client auth")
SERVING_USAGES = ("digital signature", "key encipherment", "server auth")


@pytest.mark.parametrize(
    ("signer", "request_", "usages", "message"),
    [
        pytest.param(
            CLIENT,
            pem("jane"),
            ["server auth", "client auth"],
            "invalid usage for client certificate: server auth",
            id="a client is no server",
        ),
        pytest.param(
            CLIENT,
            pem("jane"),
            ["digital signature"],
            "missing required usage for client certificate: client auth",
            id="a client is a client",
        ),
        pytest.param(
            KUBELET,
            pem("system:node:a", "team"),
            KUBELET_USAGES,
            "subject organization is not system:nodes",
            id="a kubelet is of the nodes",
        ),
        pytest.param(
            KUBELET,
            pem("jane", "system:nodes"),
            KUBELET_USAGES,
            "subject common name does not begin with system:node:",
            id="a kubelet has a node's name",
        ),
        pytest.param(
            KUBELET,
            pem(*NODE, names=["a.example"]),
            KUBELET_USAGES,
            "DNS subjectAltNames are not allowed",
            id="a kubelet's client certificate has no host",
        ),
        pytest.param(
            SERVING,
            pem(*NODE),
            SERVING_USAGES,
            "DNS or IP subjectAltName is required",
            id="a kubelet serves at an address",
        ),
        pytest.param(
            SERVING,
            pem(*NODE, names=["10.0.0.1"]),
            KUBELET_USAGES,
            "usages did not match [digital signature key encipherment server auth]",
            id="a kubelet that serves is no client",
        ),
    ],
)
def test_what_a_signer_must_not_sign_fails(
    fresh: Cluster, signer: str, request_: bytes, usages: Sequence[str], message: str
) -> None:
    ask(fresh, "wrong", request_, signer, usages)
    failed = conditions.find(fresh.get(REQUESTS, "wrong"), "Failed")
    assert failed is not None
    assert (failed["reason"], failed["message"]) == ("SignerValidationFailure", message)


def test_a_kubelet_gets_its_serving_certificate(cluster: Cluster) -> None:
    request = pem(*NODE, names=["node-a", "10.0.0.1"])
    made = certificate(ask(cluster, "serving", request, SERVING, SERVING_USAGES))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node-a"]


def allow(cluster: Cluster, user: str, subresource: str) -> None:
    name = f"system:certificates.k8s.io:certificatesigningrequests:{subresource}"
    cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{user.replace(':', '-')}-{subresource}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )


def askers(cluster: Cluster, *users: str) -> None:
    for user in users:
        cluster.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"ask-{user.replace(':', '-')}"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "system:node-bootstrapper",
                },
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            }
        )


def test_a_node_that_may_renew_its_certificate_gets_it_without_anybody(fresh: Cluster) -> None:
    askers(fresh, "system:node:a", "system:bootstrap:abc")
    allow(fresh, "system:node:a", "selfnodeclient")
    request = pem(*NODE)
    found = ask(fresh, "self", request, KUBELET, KUBELET_USAGES, user="system:node:a", approve=False)
    approved = conditions.find(found, "Approved")
    assert approved is not None
    assert (approved["reason"], approved["message"]) == (
        "AutoApproved",
        "Auto approving self kubelet client certificate after SubjectAccessReview.",
    )
    assert certificate(found).subject.rfc4514_string() == "CN=system:node:a,O=system:nodes"
    other = pem("system:node:b", "system:nodes")
    found = ask(fresh, "other", other, KUBELET, KUBELET_USAGES, user="system:node:a", approve=False)
    assert not found["status"].get("conditions")
    allow(fresh, "system:bootstrap:abc", "nodeclient")
    found = ask(fresh, "new", other, KUBELET, KUBELET_USAGES, user="system:bootstrap:abc", approve=False)
    assert conditions.is_true(found, "Approved")


@pytest.mark.parametrize(
    ("decision", "signer", "hours"),
    [
        pytest.param("Approved", "kubernetes.io/kube-apiserver-client", 1, id="issued"),
        pytest.param("Approved", "acme.dev/signer", 24, id="approved-but-not-issued"),
        pytest.param("Denied", "acme.dev/signer", 1, id="denied"),
        pytest.param("", "acme.dev/signer", 24, id="pending"),
    ],
)
def test_old_requests_are_removed(fresh: Cluster, decision: str, signer: str, hours: int) -> None:
    ask(fresh, "old", pem("jane"), signer, approve=False)
    if decision:
        decide(fresh, "old", decision)
    fresh.clock.advance(hours * 3600 - 60)
    assert fresh.find(REQUESTS, "old") is not None
    fresh.clock.advance(120)
    assert fresh.find(REQUESTS, "old") is None


# --- bootstrap tokens


def token(name: str = "abcdef", **data: str) -> Any:
    fields = {
        "token-id": name,
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-signing": "true",
        **data,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{name}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()},
    }


INFO: Any = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "cluster-info", "namespace": "kube-public"},
    "data": {"kubeconfig": "the cluster"},
}


def signed(cluster: Cluster) -> dict[str, str]:
    data: dict[str, str] = cluster.get("configmaps", "cluster-info", "kube-public")["data"]
    return {key: value for key, value in data.items() if key.startswith("jws-")}


def test_cluster_info_is_signed_with_every_token_that_may(fresh: Cluster) -> None:
    fresh.apply([INFO, token(), token("ghijkl", **{"usage-bootstrap-signing": "false"})])
    (found,) = signed(fresh).values()
    head, _, signature = found.split(".")
    content = base64.urlsafe_b64encode(b"the cluster").rstrip(b"=").decode()
    key = b"0123456789abcdef"
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        whole = jwt.api_jws.decode_complete(f"{head}.{content}.{signature}", key, algorithms=["HS256"])
    assert whole["header"] == {"alg": "HS256", "kid": "abcdef"}
    fresh.delete("secrets", "bootstrap-token-abcdef", "kube-system")
    assert signed(fresh) == {}


def test_a_token_that_expired_signs_no_more_and_goes(fresh: Cluster) -> None:
    from kubernel.clock import rfc3339

    end = rfc3339(fresh.clock.time() + 600)
    fresh.apply([INFO, token(expiration=end)])
    assert list(signed(fresh)) == ["jws-kubeconfig-abcdef"]
    fresh.clock.advance("11m")
    assert signed(fresh) == {}
    assert fresh.find("secrets", "bootstrap-token-abcdef", "kube-system") is None
    assert meta.name(INFO) == "cluster-info"


# --- what belongs to them

BUNDLES = "clustertrustbundles.v1.certificates.k8s.io"
POD_REQUESTS = "podcertificaterequests.v1.certificates.k8s.io"
SERVER = "kubernetes.io/kube-apiserver-serving"


def bundle(name: str, text: str, signer: str = SERVER) -> Any:
    frame = {"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle", "metadata": {"name": name}}
    return {**frame, "spec": {"signerName": signer, "trustBundle": text}}


def test_who_signs_the_servers_certificate_is_told_to_everybody(fresh: Cluster) -> None:
    authority = fresh.get("configmaps", "kube-root-ca.crt")["data"]["ca.crt"]
    (found,) = fresh.list(BUNDLES)
    digest = hashlib.sha256(authority.encode()).hexdigest()[:24]
    assert meta.name(found) == f"kubernetes.io:kube-apiserver-serving:{digest}"
    assert found["spec"] == {"signerName": SERVER, "trustBundle": authority}
    fresh.delete(BUNDLES, meta.name(found))
    fresh.settle()
    assert [meta.name(one) for one in fresh.list(BUNDLES)] == [meta.name(found)]
    # Of an earlier authority, and of somebody else.
    fresh.create(bundle("kubernetes.io:kube-apiserver-serving:0123", authority))
    fresh.create(bundle("acme.dev:ours:one", authority, "acme.dev/ours"))
    fresh.settle()
    left = {meta.name(one) for one in fresh.list(BUNDLES)}
    assert left == {meta.name(found), "acme.dev:ours:one"}


def test_a_pod_certificate_request_is_gone_after_a_quarter_of_an_hour() -> None:
    request = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "PodCertificateRequest",
        "metadata": {
            "name": "ask",
            "namespace": "default",
            "uid": "u-1",
            "creationTimestamp": "2030-01-01T00:00:00Z",
        },
        "spec": {"signerName": "acme.dev/ours"},
    }
    config = {"plugins": {"auth": ["rbac"]}}
    with Cluster(config, contents=[request], start=times.parse("2030-01-01T00:00:00Z")) as cluster:
        cluster.clock.advance("14m")
        assert cluster.find(POD_REQUESTS, "ask") is not None
        cluster.clock.advance("2m")
        assert cluster.find(POD_REQUESTS, "ask") is None
