"""Namespaces, configuration, access rights, events, storage and the rest."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from builtin_kit import USER, Cluster, run
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubernel.errors import Invalid, NotFound
from kubernel_plugins.api.builtin.schemas import Schemas
from kubernel_plugins.api.builtin.tables.overlay import overlay


def obj(
    api_version: str, kind: str, name: str = "x", *, namespaced: bool = True, **parts: Any
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, **parts.pop("metadata", {})}
    if namespaced:
        metadata["namespace"] = "default"
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}


def test_every_entry_of_the_overlay_names_a_field_of_v1_37() -> None:
    Schemas().overlay(overlay(), strict=True)


def test_a_namespace_is_active_and_carries_its_name() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(obj("v1", "Namespace", "shop", namespaced=False))
        assert created["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
        assert created["spec"] == {"finalizers": ["kubernetes"]}
        assert created["status"] == {"phase": "Active"}

    run(test)


def test_a_namespace_terminates_until_it_is_finalized() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(obj("v1", "Namespace", "shop", namespaced=False))
        await cluster.delete("namespaces", "shop")
        live = cluster.get("namespaces", "shop")
        assert live["status"]["phase"] == "Terminating"
        assert live["metadata"]["deletionTimestamp"]
        live["spec"] = {}
        assert (await cluster.update(live))["spec"] == {"finalizers": ["kubernetes"]}
        live = cluster.get("namespaces", "shop")
        live["spec"] = {"finalizers": []}
        await cluster.update(live, "finalize")
        with pytest.raises(NotFound):
            cluster.get("namespaces", "shop")

    run(test)


def test_a_secrets_plain_strings_become_data() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(obj("v1", "Secret", stringData={"key": "välue"}, data={"old": "eA=="}))
        assert created["type"] == "Opaque"
        assert created["data"] == {"old": "eA==", "key": base64.b64encode("välue".encode()).decode()}
        assert "stringData" not in created

    run(test)


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_immutable_means_immutable(kind: str) -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(obj("v1", kind, immutable=True, data={"a": "eA=="}))
        changed = {**created, "data": {"a": "eQ=="}}
        with pytest.raises(Invalid, match="data: Forbidden: field is immutable when `immutable` is set"):
            await cluster.update(changed)
        with pytest.raises(Invalid, match="immutable: Forbidden"):
            await cluster.update({**created, "immutable": False})
        created["metadata"]["labels"] = {"fine": "yes"}
        await cluster.update(created)

    run(test)


def test_keys_of_a_config_map_are_file_names() -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid) as refused:
            await cluster.create(obj("v1", "ConfigMap", data={"a/b": "x"}))
        assert refused.value.causes[0].field == "data[a/b]"
        with pytest.raises(Invalid, match="Too long"):
            await cluster.create(obj("v1", "ConfigMap", data={"a": "x" * 1_048_577}))

    run(test)


def test_a_secrets_type_demands_its_keys_and_stays() -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid, match=r"data\[tls.crt\]: Required value"):
            await cluster.create(obj("v1", "Secret", type="kubernetes.io/tls"))
        created = await cluster.create(obj("v1", "Secret", data={}))
        with pytest.raises(Invalid, match='type: Invalid value: "other": field is immutable'):
            await cluster.update({**created, "type": "other"})

    run(test)


def test_a_node_registers_with_its_status() -> None:
    async def test(cluster: Cluster) -> None:
        status = {"capacity": {"cpu": "2"}}
        created = await cluster.create(obj("v1", "Node", "n1", namespaced=False, spec={}, status=status))
        assert created["status"]["capacity"] == created["status"]["allocatable"] == {"cpu": "2"}
        assert created["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 0}}
        created["spec"] = {"podCIDR": "10.0.0.0/24"}
        updated = await cluster.update(created)
        updated["spec"] = {"podCIDR": "10.0.1.0/24"}
        with pytest.raises(Invalid, match=r"spec.podCIDRs: Forbidden"):
            await cluster.update(updated)

    run(test)


def test_role_bindings_name_their_groups_and_keep_their_role() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(
            obj(
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                "system:reader",
                roleRef={"kind": "Role", "name": "r"},
                subjects=[{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}],
            )
        )
        assert created["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
        assert [subject.get("apiGroup") for subject in created["subjects"]] == [
            "rbac.authorization.k8s.io",
            None,
        ]
        created["roleRef"]["name"] = "other"
        with pytest.raises(Invalid, match=r"roleRef: Invalid value: .*: field is immutable"):
            await cluster.update(created)

    run(test)


def test_rules_need_verbs_groups_and_resources() -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid) as refused:
            await cluster.create(obj("rbac.authorization.k8s.io/v1", "Role", rules=[{"verbs": []}]))
        assert {cause.field for cause in refused.value.causes} >= {
            "rules[0].verbs",
            "rules[0].apiGroups",
            "rules[0].resources",
        }

    run(test)


def test_a_priority_is_for_life() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(
            obj("scheduling.k8s.io/v1", "PriorityClass", "high", namespaced=False, value=5)
        )
        assert created["preemptionPolicy"] == "PreemptLowerPriority"
        with pytest.raises(Invalid, match=r"value: Forbidden: may not be changed in an update."):
            await cluster.update({**created, "value": 6})
        with pytest.raises(Invalid, match="reserved for system use only"):
            await cluster.create(
                obj("scheduling.k8s.io/v1", "PriorityClass", "system-mine", namespaced=False, value=5)
            )

    run(test)


def event(**parts: Any) -> dict[str, Any]:
    reference = {"kind": "Pod", "name": "web", "namespace": "default"}
    return obj("v1", "Event", "e1", involvedObject=reference, message="hello", reason="Why", **parts)


def test_events_of_both_groups_are_the_same_objects() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(event(count=2, firstTimestamp="2026-01-01T00:00:00Z"))
        newer = cluster.type("events", "events.k8s.io")
        assert newer.resource == cluster.type("events").resource
        assert newer.from_storage is not None
        shown = newer.from_storage(created)
        assert shown["apiVersion"] == "events.k8s.io/v1"
        assert (shown["note"], shown["deprecatedCount"], shown["regarding"]["name"]) == ("hello", 2, "web")
        assert newer.to_storage is not None
        assert newer.to_storage(shown) == created

    run(test)


def test_an_event_written_in_the_newer_shape_is_read_in_the_older() -> None:
    async def test(cluster: Cluster) -> None:
        newer = obj(
            "events.k8s.io/v1",
            "Event",
            "e2",
            eventTime="2026-01-01T00:00:00.000000Z",
            reportingController="example.com/x",
            reportingInstance="x-1",
            action="Did",
            reason="Why",
            type="Normal",
            note="hello",
            regarding={"kind": "Pod", "name": "web", "namespace": "default"},
        )
        await cluster.create(newer)
        stored = cluster.get("events", "e2")
        assert (stored["message"], stored["involvedObject"]["name"], stored["reportingComponent"]) == (
            "hello",
            "web",
            "example.com/x",
        )
        del newer["action"]
        newer["metadata"]["name"] = "e3"
        with pytest.raises(Invalid, match="action: Required value"):
            await cluster.create(newer)

    run(test)


def test_an_event_is_about_its_own_namespace() -> None:
    async def test(cluster: Cluster) -> None:
        wrong = event()
        wrong["involvedObject"]["namespace"] = "other"
        with pytest.raises(Invalid, match=r"does not match event.namespace"):
            await cluster.create(wrong)

    run(test)


def test_put_creates_a_lease_and_needs_its_version_afterwards() -> None:
    async def test(cluster: Cluster) -> None:
        lease = obj("coordination.k8s.io/v1", "Lease", spec={"holderIdentity": "a"})
        created = await cluster.update(lease)
        assert created["metadata"]["uid"]
        with pytest.raises(Invalid, match=r"metadata.resourceVersion: .*must be specified for an update"):
            await cluster.update(lease)

    run(test)


def signed_request() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def csr(**spec: Any) -> dict[str, Any]:
    wanted = {"request": signed_request(), "signerName": "example.com/x", "usages": ["client auth"], **spec}
    return obj("certificates.k8s.io/v1", "CertificateSigningRequest", namespaced=False, spec=wanted)


def test_a_signing_request_says_who_really_asked() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(csr(username="root", groups=["system:masters"]))
        spec = created["spec"]
        assert (spec["username"], spec["uid"], spec["groups"]) == (USER.name, USER.uid, list(USER.groups))
        assert spec["extra"] == {"scopes": ["a", "b"]}

    run(test)


def test_only_approval_decides_on_a_signing_request() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(csr())
        approved = {"type": "Approved", "status": "True", "reason": "Fine"}
        created["status"] = {"conditions": [approved]}
        with pytest.raises(Invalid, match="may not add a condition"):
            await cluster.update(created, "status")
        decided = await cluster.update(created, "approval")
        condition = decided["status"]["conditions"][0]
        assert (condition["type"], bool(condition["lastTransitionTime"])) == ("Approved", True)
        decided["spec"]["signerName"] = "example.com/other"
        assert (await cluster.update(decided))["spec"]["signerName"] == "example.com/x"
        decided["status"]["conditions"] = []
        with pytest.raises(Invalid, match="may not remove a condition"):
            await cluster.update(
                {
                    **decided,
                    "metadata": cluster.get("certificatesigningrequests", "x", "certificates.k8s.io")[
                        "metadata"
                    ],
                },
                "approval",
            )

    run(test)


def test_claims_and_volumes_start_pending() -> None:
    async def test(cluster: Cluster) -> None:
        claim = obj(
            "v1",
            "PersistentVolumeClaim",
            spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        )
        created = await cluster.create(claim)
        assert (created["status"], created["spec"]["volumeMode"]) == ({"phase": "Pending"}, "Filesystem")
        created["spec"]["resources"]["requests"]["storage"] = "2Gi"
        with pytest.raises(Invalid, match="spec is immutable after creation"):
            await cluster.update(created)
        volume = obj(
            "v1",
            "PersistentVolume",
            namespaced=False,
            spec={
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": "/x"},
            },
        )
        made = await cluster.create(volume)
        assert made["status"]["phase"] == "Pending"
        assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        made["spec"]["hostPath"]["path"] = "/y"
        with pytest.raises(Invalid, match=r"spec.persistentvolumesource is immutable after creation"):
            await cluster.update(made)

    run(test)


def test_a_storage_class_keeps_its_provisioner() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(
            obj("storage.k8s.io/v1", "StorageClass", namespaced=False, provisioner="example.com/p")
        )
        assert (created["reclaimPolicy"], created["volumeBindingMode"]) == ("Delete", "Immediate")
        with pytest.raises(Invalid, match=r"provisioner: Invalid value: null: field is immutable"):
            await cluster.update({**created, "provisioner": "other"})

    run(test)


@pytest.mark.parametrize(
    ("made", "path", "value"),
    [
        pytest.param(
            obj("networking.k8s.io/v1", "NetworkPolicy", spec={}),
            ("spec",),
            {"podSelector": {}, "policyTypes": ["Ingress"]},
            id="network-policy",
        ),
        pytest.param(
            obj(
                "v1",
                "LimitRange",
                spec={
                    "limits": [
                        {"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "1Mi"}}
                    ]
                },
            ),
            ("spec", "limits"),
            [
                {
                    "type": "Container",
                    "max": {"cpu": "2"},
                    "min": {"cpu": "1", "memory": "1Mi"},
                    "default": {"cpu": "2"},
                    "defaultRequest": {"cpu": "2", "memory": "1Mi"},
                }
            ],
            id="limit-range",
        ),
        pytest.param(
            obj(
                "discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[], ports=[{"port": 80}]
            ),
            ("ports",),
            [{"port": 80, "name": "", "protocol": "TCP"}],
            id="endpoint-slice",
        ),
        pytest.param(
            obj("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1}),
            ("status",),
            {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
            id="disruption-budget",
        ),
    ],
)
def test_defaults_of_other_types(made: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    async def test(cluster: Cluster) -> None:
        found: Any = await cluster.create(made)
        for step in path:
            found = found[step]
        assert found == value

    run(test)


@pytest.mark.parametrize(
    ("made", "good", "bad"),
    [
        pytest.param(obj("rbac.authorization.k8s.io/v1", "Role"), "system:a", "a/b", id="role-path"),
        pytest.param(obj("v1", "ConfigMap"), "a.b", "A_b", id="subdomain"),
        pytest.param(obj("v1", "Namespace", namespaced=False), "a-b", "a.b", id="label"),
    ],
)
def test_names_follow_their_types_rule(made: dict[str, Any], good: str, bad: str) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create({**made, "metadata": {**made["metadata"], "name": good}})
        with pytest.raises(Invalid, match=r"metadata.name: Invalid value"):
            await cluster.create({**made, "metadata": {**made["metadata"], "name": bad}})

    run(test)


def test_deleting_a_service_account_answers_with_it() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(obj("v1", "ServiceAccount"))
        assert (await cluster.delete("serviceaccounts", "x")).status is None
        await cluster.create(obj("v1", "ConfigMap"))
        answer = await cluster.delete("configmaps", "x")
        assert answer.status is not None
        assert answer.status["details"]["kind"] == "configmaps"

    run(test)


def test_a_bundle_of_trust_anchors_has_a_limit() -> None:
    async def test(cluster: Cluster) -> None:
        bundle = obj(
            "certificates.k8s.io/v1", "ClusterTrustBundle", spec={"trustBundle": "x" * (1024 * 1024 + 1)}
        )
        with pytest.raises(Invalid, match="may not be more than 1048576 bytes"):
            await cluster.create(bundle)

    run(test)


def test_a_namespace_of_what_has_none_is_dropped() -> None:
    async def test(cluster: Cluster) -> None:
        role = obj("rbac.authorization.k8s.io/v1", "ClusterRole", rules=[])
        role["metadata"]["namespace"] = "elsewhere"
        assert "namespace" not in (await cluster.create(role))["metadata"]

    run(test)
