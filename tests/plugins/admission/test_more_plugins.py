"""What the smaller admission plugins add and refuse."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webhook_kit import WebhookServer
from workload_kit import pod

from kubernel.errors import Forbidden, TooManyRequests
from kubernel.testing import Cluster
from kubernel_plugins.authority import Authority

Obj = dict[str, Any]


def running(*admission: Any, **more: Any) -> Cluster:
    return Cluster(config={"plugins": {"admission": ["*", *admission], "scheduler": None, **more}})


def refused(cluster: Cluster, obj: Obj) -> str:
    with pytest.raises(Forbidden) as refusal:
        cluster.create(obj)
    return refusal.value.message


# --- runtime_class


def runtime_class(**more: Any) -> Obj:
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "vm"},
        "handler": "x",
        **more,
    }


def test_a_pod_gets_the_overhead_and_the_nodes_of_its_runtime_class(cluster: Cluster) -> None:
    toleration = {"key": "vm", "operator": "Exists", "effect": "NoSchedule"}
    cluster.create(
        runtime_class(
            overhead={"podFixed": {"cpu": "250m", "memory": "64Mi"}},
            scheduling={"nodeSelector": {"kind": "vm"}, "tolerations": [toleration]},
        )
    )
    spec = cluster.create(pod("a", runtimeClassName="vm", nodeSelector={"zone": "1"}))["spec"]
    assert spec["overhead"] == {"cpu": "250m", "memory": "64Mi"}
    assert spec["nodeSelector"] == {"zone": "1", "kind": "vm"}
    assert toleration in spec["tolerations"]
    assert refused(cluster, pod("b", runtimeClassName="no")) == (
        'pods "b" is forbidden: pod rejected: RuntimeClass "no" not found'
    )
    assert "Pod's Overhead doesn't match RuntimeClass's defined Overhead" in refused(
        cluster, pod("c", runtimeClassName="vm", overhead={"cpu": "1"})
    )
    assert "Pod Overhead set without corresponding RuntimeClass defined Overhead" in refused(
        cluster, pod("d", overhead={"cpu": "1"})
    )
    assert (
        "conflict: runtimeClass.scheduling.nodeSelector[kind] = vm; pod.spec.nodeSelector[kind] = metal"
        in refused(cluster, pod("e", runtimeClassName="vm", nodeSelector={"kind": "metal"}))
    )


# --- certificates


def signing_request(name: str, organization: str, signer: str = "kubernetes.io/kube-apiserver-client") -> Obj:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    subject = [x509.NameAttribute(NameOID.COMMON_NAME, "jane")]
    subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)
    return {
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": base64.b64encode(pem).decode(), "signerName": signer, "usages": ["client auth"]},
    }  # fmt: skip


CSRS = "certificatesigningrequests.v1.certificates.k8s.io"
APPROVED = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]}}


def test_nobody_asks_for_a_certificate_of_the_masters(cluster: Cluster) -> None:
    cluster.create(signing_request("good", "devs"))
    assert (
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        in refused(cluster, signing_request("bad", "system:masters"))
    )


def granted(name: str, *rules: Obj) -> list[Obj]:
    """A role of these rules, bound to the user of this name."""
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [*rules]}
    binding = {
        "apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
    }  # fmt: skip
    return [role, binding]


def test_approval_needs_the_right_for_the_signer() -> None:
    update = {"apiGroups": ["certificates.k8s.io"], "verbs": ["update", "patch"]}
    update["resources"] = ["certificatesigningrequests/approval"]
    with running(auth=["rbac"], controller=["bootstrap"]) as cluster:
        right = {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"]}
        right["resourceNames"] = ["example.com/*"]
        for obj in (*granted("ann", update), *granted("bob", update, right)):
            cluster.create(obj)
        cluster.create(signing_request("c", "devs", "example.com/signer"))
        cluster.settle()

        def approve(user: str) -> Any:
            return cluster.run(cluster.client(user).patch(CSRS, "c", APPROVED, subresource="approval"))

        with pytest.raises(Forbidden) as refusal:
            approve("ann")
        assert refusal.value.message.endswith(
            'user not permitted to approve requests with signerName "example.com/signer"'
        )
        approve("bob")


BUNDLES = "clustertrustbundles.v1.certificates.k8s.io"


def trust_bundle(name: str, authority: Path, signer: str = "") -> Obj:
    anchor = Authority.open(authority).ca_certificate.decode()
    spec = {"trustBundle": anchor, **({"signerName": signer} if signer else {})}
    metadata = {"name": name}
    return {
        "apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle", "metadata": metadata, "spec": spec
    }  # fmt: skip


def test_a_trust_bundle_of_a_signer_needs_the_right_to_attest_for_it(tmp_path: Path) -> None:
    with running(auth=["rbac"], controller=["bootstrap"]) as cluster:
        write = {"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"]}
        write["verbs"] = ["create", "update", "patch"]
        right = {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["attest"]}
        right["resourceNames"] = ["example.com/signer"]
        for obj in (*granted("ann", write), *granted("bob", write, right)):
            cluster.create(obj)
        cluster.settle()
        name = "example.com:signer:a"
        refusal = (
            f'clustertrustbundles.certificates.k8s.io "{name}" is forbidden: '
            'user not permitted to attest for signerName "example.com/signer"'
        )

        def create(user: str, obj: Obj) -> Any:
            return cluster.run(cluster.client(user).create(BUNDLES, obj))

        def patch(user: str, change: Obj) -> Any:
            return cluster.run(cluster.client(user).patch(BUNDLES, name, change))

        create("ann", trust_bundle("nobodys", tmp_path / "a"))
        with pytest.raises(Forbidden) as refused:
            create("ann", trust_bundle(name, tmp_path / "a", "example.com/signer"))
        assert refused.value.message == refusal
        create("bob", trust_bundle(name, tmp_path / "a", "example.com/signer"))
        with pytest.raises(Forbidden) as refused:
            patch("ann", {"spec": {"trustBundle": trust_bundle("b", tmp_path / "b")["spec"]["trustBundle"]}})
        assert refused.value.message == refusal
        with pytest.raises(Forbidden):
            patch("ann", {"metadata": {"labels": {"a": "b"}}})
        # As the garbage collector does.
        kept = patch("ann", {"metadata": {"finalizers": ["example.com/kept"]}})
        assert kept["metadata"]["finalizers"] == ["example.com/kept"]
        patch("bob", {"metadata": {"labels": {"a": "b"}}})


# --- pod_topology_labels

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"


def bound(cluster: Cluster, name: str, target: Obj) -> Obj:
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    cluster.run(cluster.client().create("pods", binding, "default", name=name, subresource="binding"))
    return dict(cluster.get("pods", name, "default")["metadata"].get("labels") or {})


def test_a_pod_has_the_zone_and_the_region_of_the_node_it_is_on() -> None:
    with running() as cluster:
        labels = {ZONE: "z1", REGION: "r1", "topology.kubernetes.io/rack": "7", "disk": "ssd"}
        cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}})
        cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bare"}})
        there = {ZONE: "z1", REGION: "r1"}
        for name in ("a", "b", "c", "d"):
            obj = pod(name)
            obj["metadata"]["labels"] = {"app": name, **({ZONE: "mine"} if name == "b" else {})}
            created = cluster.create(obj)
            assert created["metadata"]["labels"] == obj["metadata"]["labels"]
        assert bound(cluster, "a", {"kind": "Node", "name": "n"}) == {"app": "a", **there}
        assert bound(cluster, "b", {"kind": "Node", "name": "n"}) == {"app": "b", **there}
        assert bound(cluster, "c", {"kind": "Node", "name": "bare"}) == {"app": "c"}
        assert bound(cluster, "d", {"kind": "Node", "name": "unknown"}) == {"app": "d"}
        assert cluster.create(pod("e", nodeName="n"))["metadata"]["labels"] == there


def test_the_labels_of_a_binding_become_the_pods() -> None:
    with running() as cluster:
        obj = pod("a")
        obj["metadata"]["labels"] = {"app": "a", "tier": "front"}
        cluster.create(obj)
        metadata = {"name": "a", "labels": {"tier": "back", "more": "yes"}}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata}
        binding["target"] = {"kind": "Node", "name": "n"}
        cluster.run(cluster.client().create("pods", binding, "default", name="a", subresource="binding"))
        labels = cluster.get("pods", "a", "default")["metadata"]["labels"]
        assert labels == {"app": "a", "tier": "back", "more": "yes"}


# --- default_ingress_class


def ingress(name: str, **more: Any) -> Obj:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
        "spec": {"defaultBackend": backend, **more},
    }  # fmt: skip


def test_an_ingress_without_a_class_gets_the_newest_default(cluster: Cluster) -> None:
    assert "ingressClassName" not in cluster.create(ingress("a"))["spec"]
    for name in ("old", "new"):
        cluster.create(
            {
                "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": name, "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
                "spec": {"controller": "example.com/c"},
            }
        )  # fmt: skip
        cluster.clock.advance("5s")
    assert cluster.create(ingress("b"))["spec"]["ingressClassName"] == "new"
    assert cluster.create(ingress("c", ingressClassName="old"))["spec"]["ingressClassName"] == "old"


# --- off by default


def service(*addresses: str) -> Obj:
    spec = {"ports": [{"port": 80}], "externalIPs": list(addresses)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}


def test_external_ips_of_services_can_be_denied() -> None:
    with running("deny_service_external_ips") as cluster:
        assert refused(cluster, service("192.0.2.1")) == (
            'services "s" is forbidden: Use of external IPs is denied by admission control'
        )
        cluster.create(service())
        with pytest.raises(Forbidden):
            cluster.patch("services", "s", {"spec": {"externalIPs": ["192.0.2.1"]}})


def event(name: str, about: str = "a") -> Obj:
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "reason": "R", "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": about}, "source": {"component": "c"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("type", "key"), [("Namespace", "default"), ("Server", ""), ("User", "kubernetes-admin")]
)
def test_events_are_limited(type: str, key: str) -> None:
    limits = {"event_rate_limit": {"limits": [{"type": type, "qps": 1, "burst": 2}]}}
    with running(limits, controller=["bootstrap"], node=None) as cluster:
        cluster.create(event("one"))
        cluster.create(event("two"))
        with pytest.raises(TooManyRequests, match=f"limit reached on type {type} for key {key}"):
            cluster.create(event("three"))
        cluster.clock.advance("2s")
        cluster.create(event("three"))


def test_events_about_one_object_do_not_use_up_what_others_have() -> None:
    limits = {"event_rate_limit": {"limits": [{"type": "SourceAndObject", "qps": 1, "burst": 1}]}}
    with running(limits, controller=["bootstrap"], node=None) as cluster:
        cluster.create(event("one"))
        cluster.create(event("two", about="b"))
        with pytest.raises(TooManyRequests):
            cluster.create(event("three"))


def test_images_are_always_pulled() -> None:
    with running("always_pull_images", node=None) as cluster:
        containers = [{"name": "c", "image": "x:1", "imagePullPolicy": "Never"}]
        volumes = [{"name": "v", "image": {"reference": "y:1", "pullPolicy": "IfNotPresent"}}]
        made = cluster.create(
            pod("a", containers=containers, initContainers=[{"name": "i", "image": "z"}], volumes=volumes)
        )
        spec = made["spec"]
        assert [one["imagePullPolicy"] for one in (*spec["containers"], *spec["initContainers"])] == [
            "Always"
        ] * 2
        assert spec["volumes"][0]["image"]["pullPolicy"] == "Always"


def test_the_pods_of_a_namespace_stay_on_its_nodes() -> None:
    settings = {"pod_node_selector": {"default": "env=shared", "allowed": {"default": "env=shared,disk=ssd"}}}
    with running(settings, node=None) as cluster:
        assert cluster.create(pod("a"))["spec"]["nodeSelector"] == {"env": "shared"}
        both = cluster.create(pod("b", nodeSelector={"disk": "ssd"}))["spec"]["nodeSelector"]
        assert both == {"env": "shared", "disk": "ssd"}
        assert "pod node label selector conflicts with its namespace node label selector" in refused(
            cluster, pod("c", nodeSelector={"env": "own"})
        )
        assert "pod node label selector labels conflict with its namespace whitelist" in refused(
            cluster, pod("d", nodeSelector={"gpu": "yes"})
        )
        marked = {"scheduler.alpha.kubernetes.io/node-selector": "env=other"}
        cluster.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "annotations": marked}}
        )
        made = cluster.create(pod("a"), namespace="n")
        assert made["spec"]["nodeSelector"] == {"env": "other"}


def test_a_pod_tolerates_the_nodes_of_its_devices() -> None:
    with running("extended_resource_toleration", node=None) as cluster:
        resources = {"requests": {"example.com/gpu": "1", "cpu": "1"}, "limits": {"example.com/gpu": "1"}}
        made = cluster.create(pod("a", containers=[{"name": "c", "image": "x", "resources": resources}]))
        added = [one for one in made["spec"]["tolerations"] if one["key"] == "example.com/gpu"]
        assert added == [{"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_a_new_node_is_tainted_until_it_is_ready() -> None:
    with running(node=None, controller=["bootstrap"]) as cluster:
        made = cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
        assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


def test_who_sets_owners_needs_rights() -> None:
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update", "patch", "get"]}]
    objects: list[Obj] = [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "writer"}, "rules": rules},
        {
            "apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "writer"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "writer"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "jane"}],
        },
    ]  # fmt: skip
    with running("owner_references", auth=["rbac"], controller=["bootstrap"], node=None) as cluster:
        for obj in objects:
            cluster.create(obj)
        owner = cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}})
        cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}})
        cluster.settle()
        reference = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "owner",
            "uid": owner["metadata"]["uid"],
        }
        jane = cluster.client("jane")

        def set_owner(name: str, **more: Any) -> str:
            patch = {"metadata": {"ownerReferences": [{**reference, **more}]}}
            with pytest.raises(Forbidden) as refusal:
                cluster.run(jane.patch("configmaps", name, patch, "default"))
            return refusal.value.message

        assert "cannot set an ownerRef on a resource you can't delete" in set_owner("mine")
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new", "ownerReferences": [
            {**reference, "blockOwnerDeletion": True}]}}  # fmt: skip
        with pytest.raises(
            Forbidden, match="cannot set blockOwnerDeletion if an ownerReference refers to a resource"
        ):
            cluster.run(jane.create("configmaps", made, "default"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebhookServer]:
    made = WebhookServer(tmp_path / "server")
    yield made
    made.stop()


def test_another_server_says_which_images_may_run(server: WebhookServer, tmp_path: Path) -> None:
    def review(asked: Obj) -> tuple[int, bytes]:
        bad = any("evil" in one["image"] for one in asked["spec"]["containers"])
        return 200, json.dumps({"status": {"allowed": not bad, "reason": "too evil"}}).encode()

    server.raw["/images"] = review
    settings = {"image_policy": {"kubeconfig": server.kubeconfig(tmp_path, "/images")}}
    plugins = {"admission": ["*", settings], "scheduler": None, "node": None}
    with Cluster(config={"plugins": plugins}, real_time=True) as cluster:
        cluster.create(pod("a"))
        evil = pod("b", containers=[{"name": "c", "image": "evil:1"}])
        assert refused(cluster, evil) == (
            'pods "b" is forbidden: image policy webhook backend denied one or more images: too evil'
        )
        server.raw["/images"] = lambda asked: (500, b"")
        assert "forbidden" in refused(cluster, pod("c", containers=[{"name": "c", "image": "other:1"}]))
