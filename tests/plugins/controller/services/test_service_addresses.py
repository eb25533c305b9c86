"""ServiceCIDRs, IPAddresses, load balancers, and what else keeps a cluster tidy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from workload_kit import events

from kubernel.clock import micro_time, rfc3339
from kubernel.errors import Invalid
from kubernel.objects import conditions, meta, times
from kubernel.store.records import Key
from kubernel.testing import Cluster
from kubernel_plugins.nodeports import key_of, of_service, owner

CIDRS, ADDRESSES = "servicecidrs.v1.networking.k8s.io", "ipaddresses.v1.networking.k8s.io"
MIGRATIONS = "storageversionmigrations.v1.storagemigration.k8s.io"


def service(name: str = "web", **spec: Any) -> Any:
    made = {"ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": made}


def cidr(name: str, *cidrs: str) -> Any:
    frame = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name}}
    return {**frame, "spec": {"cidrs": list(cidrs)}}


def told(cluster: Cluster, reason: str) -> list[str]:
    return [event["message"] for event in events(cluster, reason)]


# --- addresses


def test_each_cluster_ip_is_an_ip_address_of_its_service(cluster: Cluster) -> None:
    cluster.apply(service())
    ip = cluster.get("services", "web")["spec"]["clusterIP"]
    found = cluster.get(ADDRESSES, ip)
    assert found["spec"]["parentRef"] == {
        "resource": "services",
        "namespace": "default",
        "name": "web",
    }
    assert meta.labels(found) == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    cluster.delete("services", "web")
    assert cluster.find(ADDRESSES, ip) is None


def test_an_ip_address_of_a_service_that_was_deleted_is_made_again(cluster: Cluster) -> None:
    cluster.apply(service())
    ip = cluster.get("services", "web")["spec"]["clusterIP"]
    cluster.delete(ADDRESSES, ip)
    assert cluster.get(ADDRESSES, ip)["spec"]["parentRef"]["name"] == "web"


def holder(name: str = "web", **of: str) -> dict[str, str]:
    return {"resource": "services", "namespace": "default", "name": name, **of}


def address(ip: str, parent: dict[str, str], *, ours: bool = True) -> Any:
    labels = {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": ip, "labels": labels if ours else {}},
        "spec": {"parentRef": parent},
    }


@pytest.mark.parametrize(
    ("parent", "ours", "reason", "message"),
    [
        pytest.param(
            holder("gone"),
            True,
            "ClusterIPNotAllocated",
            "the ClusterIP [IPv4]: 127.96.9.9 for Service default/web has a wrong reference; repairing",
            id="of-a-service-that-is-gone",
        ),
        pytest.param(
            {"group": "acme.dev", "resource": "gateways", "name": "main"},
            False,
            "ClusterIPNotAllocated",
            "the ClusterIP [IPv4]: 127.96.9.9 for Service default/web has a wrong reference; repairing",
            id="of-something-else",
        ),
        pytest.param(holder(), False, "", "", id="without-labels"),
    ],
)
def test_what_a_crash_or_an_operator_left_of_an_address_is_repaired(
    parent: dict[str, str], ours: bool, reason: str, message: str
) -> None:
    contents = [service(clusterIP="127.96.9.9", clusterIPs=["127.96.9.9"])]
    contents[0]["metadata"]["namespace"] = "default"
    for one in (*contents, wrong := address("127.96.9.9", parent, ours=ours)):
        one["metadata"] |= {"uid": f"u-{one['kind']}", "creationTimestamp": "2030-01-01T00:00:00Z"}
    with Cluster(contents=[*contents, wrong]) as cluster:
        cluster.settle()
        found = cluster.get(ADDRESSES, "127.96.9.9")
        assert found["spec"] == address("127.96.9.9", holder())["spec"]
        assert meta.labels(found) == meta.labels(address("127.96.9.9", holder()))
        assert (told(cluster, reason) if reason else []) == ([message] if reason else [])


def test_a_service_of_older_data_gets_the_ip_address_object_that_it_lacks() -> None:
    old = service(clusterIP="127.96.9.9", clusterIPs=["127.96.9.9"])
    old["metadata"] |= {"namespace": "default", "uid": "u-1", "creationTimestamp": "2030-01-01T00:00:00Z"}
    with Cluster(contents=[old]) as cluster:
        cluster.settle()
        assert cluster.get(ADDRESSES, "127.96.9.9")["spec"]["parentRef"] == holder()
        assert told(cluster, "ClusterIPNotAllocated") == [
            "Cluster IP [IPv4]: 127.96.9.9 is not allocated; repairing"
        ]


def test_two_services_of_one_address_are_told_of_each_other() -> None:
    contents = []
    for number, name in enumerate(("web", "late")):
        one = service(name, clusterIP="127.96.9.9", clusterIPs=["127.96.9.9"])
        stamps = {"uid": f"u-{number}", "creationTimestamp": "2030-01-01T00:00:00Z"}
        one["metadata"] |= {"namespace": "default", **stamps}
        contents.append(one)
    entry = address("127.96.9.9", holder())
    entry["metadata"] |= {"uid": "u-9", "creationTimestamp": "2030-01-01T00:00:00Z"}
    with Cluster(contents=[*contents, entry]) as cluster:
        cluster.settle()
        assert told(cluster, "ClusterIPAlreadyAllocated") == [
            "Cluster IP [IPv4]:127.96.9.9 was assigned to multiple services; please recreate service"
        ]
        assert cluster.get(ADDRESSES, "127.96.9.9")["spec"]["parentRef"] == holder()


def test_an_address_out_of_every_range_is_told() -> None:
    one = service(clusterIP="10.0.0.7", clusterIPs=["10.0.0.7"])
    one["metadata"] |= {"namespace": "default", "uid": "u-1", "creationTimestamp": "2030-01-01T00:00:00Z"}
    with Cluster(contents=[one]) as cluster:
        cluster.settle()
        assert told(cluster, "ClusterIPOutOfRange") == [
            "Cluster IP [IPv4]: 10.0.0.7 is not within any configured Service CIDR; please recreate service"
        ]


def test_an_address_that_its_service_never_got_is_removed_after_a_minute(cluster: Cluster) -> None:
    cluster.apply([service(), address("127.96.9.9", holder()), address("127.96.9.8", holder("never"))])
    cluster.clock.advance("59s")
    assert cluster.find(ADDRESSES, "127.96.9.9") is not None
    cluster.clock.advance("5s")
    assert cluster.find(ADDRESSES, "127.96.9.9") is None
    assert cluster.find(ADDRESSES, "127.96.9.8") is None
    assert told(cluster, "IPAddressWrongReference") == [
        "IPAddress: 127.96.9.9 for Service default/web has a wrong reference; cleaning up"
    ]
    assert told(cluster, "IPAddressNotAllocated") == [
        "IPAddress: 127.96.9.8 for Service default/never appears to have leaked: cleaning up"
    ]


def test_an_address_of_the_allocator_that_names_something_else_is_removed(cluster: Cluster) -> None:
    gateway = {"group": "acme.dev", "resource": "gateways", "name": "main"}
    cluster.apply(address("127.96.9.9", gateway))
    assert cluster.find(ADDRESSES, "127.96.9.9") is None
    shown = "&ParentReference{Group:acme.dev,Resource:gateways,Namespace:,Name:main,}"
    text = (
        f"IPAddress 127.96.9.9 appears to have been modified, not referencing a Service {shown}: cleaning up"
    )
    assert told(cluster, "IPAddressNotAllocated") == [text]


def test_services_that_come_and_go_are_nobodys_repair(cluster: Cluster) -> None:
    for number in range(20):
        cluster.apply(service(f"web-{number}"))
    for number in range(20):
        cluster.delete("services", f"web-{number}")
    cluster.clock.advance("3m")
    tellers = {event["source"]["component"] for event in cluster.list("events")}
    assert "ipallocator-repair-controller" not in tellers
    assert [meta.name(one) for one in cluster.list(ADDRESSES)] == ["127.96.0.1"]


def test_an_address_that_somebody_else_has_is_not_given(cluster: Cluster) -> None:
    ip = "127.96.77.7"
    reference = {"group": "acme.dev", "resource": "gateways", "name": "main"}
    cluster.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": {"name": ip},
            "spec": {"parentRef": reference},
        }
    )
    with pytest.raises(Invalid, match=f"failed to allocate IP {ip}: provided IP is already allocated"):
        cluster.create(service(clusterIP=ip))


# --- ranges


def test_the_clusters_range_is_ready(cluster: Cluster) -> None:
    found = cluster.get(CIDRS, "kubernetes")
    ready = conditions.find(found, "Ready")
    assert ready is not None
    assert (ready["status"], ready["message"]) == ("True", "Kubernetes Service CIDR is ready")
    assert found["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]


@pytest.fixture
def small() -> Iterator[Cluster]:
    with Cluster({"cluster": {"serviceCIDR": "127.96.0.0/29"}}) as made:
        yield made


def test_a_further_range_serves_when_the_first_is_full(small: Cluster) -> None:
    for number in range(5):
        small.apply(service(f"web-{number}"))
    with pytest.raises(Exception, match="range is full"):
        small.create(service("late"))
    small.apply(cidr("more", "127.97.0.0/28"))
    small.apply(service("late"))
    ip = small.get("services", "late")["spec"]["clusterIP"]
    assert ip_address(ip) in ip_network("127.97.0.0/28")


def test_a_range_in_use_stays_until_its_services_are_gone(small: Cluster) -> None:
    small.apply([cidr("more", "127.97.0.0/28"), service(clusterIP="127.97.0.5")])
    small.delete(CIDRS, "more")
    small.clock.advance("1m")
    ready = conditions.find(small.get(CIDRS, "more"), "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "False",
        "Terminating",
        "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
    )
    with pytest.raises(Invalid, match="does not match the current range"):
        small.create(service("other", clusterIP="127.97.0.6"))
    small.delete("services", "web")
    small.clock.advance("1m")
    assert small.find(CIDRS, "more") is None


def test_a_range_that_another_contains_may_go(small: Cluster) -> None:
    small.apply([cidr("more", "127.97.0.0/28"), service(clusterIP="127.97.0.5")])
    small.delete(CIDRS, "more")
    small.apply(cidr("wider", "127.97.0.0/24"))
    small.clock.advance("1m")
    assert small.find(CIDRS, "more") is None
    assert small.get("services", "web")["spec"]["clusterIP"] == "127.97.0.5"


# --- load balancers


def ingress(cluster: Cluster, name: str = "web") -> list[str]:
    status = cluster.get("services", name)["status"]
    return [point["ip"] for point in status["loadBalancer"].get("ingress") or ()]


@pytest.fixture
def two() -> Iterator[Cluster]:
    settings = {"addresses": ["127.113.0.1-127.113.0.2"], "loadBalancerClass": "acme.dev/ours"}
    with Cluster({"plugins": {"controller": ["*", {"loadbalancer": settings}]}}) as made:
        yield made


def test_a_load_balancer_gets_an_address_of_the_pool_and_gives_it_back(two: Cluster) -> None:
    for name in ("web", "api", "late"):
        two.apply(service(name, type="LoadBalancer"))
    assert (ingress(two), ingress(two, "api"), ingress(two, "late")) == (
        ["127.113.0.1"],
        ["127.113.0.2"],
        [],
    )
    assert told(two, "SyncLoadBalancerFailed") == [
        "Error syncing load balancer: failed to ensure load balancer: no address is left in the pool"
    ]
    two.delete("services", "web")
    assert two.find("services", "web") is None
    assert ingress(two, "late") == ["127.113.0.1"]
    assert "Ensured load balancer" in told(two, "EnsuredLoadBalancer")


def test_a_service_that_ceases_to_be_one_loses_its_address(two: Cluster) -> None:
    two.apply(service(type="LoadBalancer"))
    finalizer = "service.kubernetes.io/load-balancer-cleanup"
    assert two.get("services", "web")["metadata"]["finalizers"] == [finalizer]
    two.patch("services", "web", {"spec": {"type": "ClusterIP"}})
    found = two.get("services", "web")
    assert found["status"]["loadBalancer"] == {}
    assert not found["metadata"].get("finalizers")


def test_an_address_may_be_asked_for(two: Cluster) -> None:
    two.apply(service(type="LoadBalancer", loadBalancerIP="127.113.0.2"))
    assert ingress(two) == ["127.113.0.2"]
    two.apply(service("other", type="LoadBalancer", loadBalancerIP="127.113.0.2"))
    assert ingress(two, "other") == []


def test_the_configuration_says_whether_traffic_has_to_pass_the_load_balancer() -> None:
    def points(cluster: Cluster) -> list[dict[str, str]]:
        found: list[dict[str, str]] = cluster.get("services", "web")["status"]["loadBalancer"]["ingress"]
        return found

    settings = {"addresses": ["127.113.0.1"], "ipMode": "Proxy"}
    with Cluster({"plugins": {"controller": ["*", {"loadbalancer": settings}]}}) as cluster:
        cluster.apply(service(type="LoadBalancer"))
        assert points(cluster) == [{"ip": "127.113.0.1", "ipMode": "Proxy"}]
        # As an earlier configuration had it.
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "127.113.0.1", "ipMode": "VIP"}]}}}
        cluster.patch("services", "web", status, subresource="status")
        assert points(cluster) == [{"ip": "127.113.0.1", "ipMode": "Proxy"}]


def test_services_of_another_class_are_left_to_it(two: Cluster) -> None:
    two.apply(service("ours", type="LoadBalancer", loadBalancerClass="acme.dev/ours"))
    two.apply(service("theirs", type="LoadBalancer", loadBalancerClass="acme.dev/theirs"))
    assert ingress(two, "ours") == ["127.113.0.1"]
    assert ingress(two, "theirs") == []


def test_an_address_is_kept_over_a_restart(two: Cluster) -> None:
    two.apply([service(type="LoadBalancer"), service("api", type="LoadBalancer")])
    before = (ingress(two), ingress(two, "api"))
    with two.faults.outage("controller", "loadbalancer"):
        two.clock.advance("1m")
    two.apply(service("late", type="LoadBalancer"))
    assert (ingress(two), ingress(two, "api"), ingress(two, "late")) == (*before, [])


# --- nodes


def test_nodes_are_told_how_long_to_trust_what_they_read() -> None:
    key = "node.alpha.kubernetes.io/ttl"
    with Cluster({"plugins": {"node": [{"simulated": {"nodes": 99}}]}}) as cluster:
        assert {meta.annotations(node)[key] for node in cluster.list("nodes")} == {"0"}
        for number in range(100, 103):
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"more-{number}"}}
            cluster.create(node)
        assert {meta.annotations(node)[key] for node in cluster.list("nodes")} == {"15"}


# --- leases


LEASES = "leases.v1.coordination.k8s.io"


def test_the_server_says_that_it_is_there_and_renews_it() -> None:
    """Names and labels are those of a kube-apiserver of v1.37 on a host called vm."""
    with Cluster({"cluster": {"nodeName": "vm"}}) as cluster:
        name = "apiserver-wlv32tlttr4jl3gtroqexyxapa"
        lease = cluster.get(LEASES, name, "kube-system")
        assert meta.labels(lease) == {
            "apiserver.kubernetes.io/identity": "kube-apiserver",
            "kubernetes.io/hostname": "vm",
        }
        assert lease["spec"]["leaseDurationSeconds"] == 3600
        assert re.fullmatch(f"{name}_[0-9a-f-]{{36}}", lease["spec"]["holderIdentity"])
        cluster.clock.advance("2h")
        again = cluster.get(LEASES, name, "kube-system")
        assert meta.uid(again) == meta.uid(lease)
        assert times.parse(again["spec"]["renewTime"]) > cluster.clock.time() - 11
        cluster.delete(LEASES, name, "kube-system")
        cluster.clock.advance(11)
        assert cluster.find(LEASES, name, "kube-system") is not None


def test_the_lease_of_a_server_that_ended_goes_after_an_hour(cluster: Cluster) -> None:
    selector = "apiserver.kubernetes.io/identity=kube-apiserver"

    def servers() -> list[str]:
        return [meta.name(one) for one in cluster.list(LEASES, "kube-system", labels=selector)]

    assert len(servers()) == 1
    cluster.faults.crash("controller", "apiserveridentity")
    cluster.clock.advance("59m")
    assert len(servers()) == 1
    cluster.clock.advance("2m")
    assert servers() == []


def test_identity_leases_of_servers_that_are_gone_are_removed(cluster: Cluster) -> None:
    labels = {"apiserver.kubernetes.io/identity": "kube-apiserver"}
    for name, own in (("apiserver-gone", labels), ("other", {})):
        cluster.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name, "namespace": "kube-system", "labels": own},
                "spec": {"renewTime": micro_time(cluster.clock.time()), "leaseDurationSeconds": 3600},
            }
        )
    cluster.clock.advance("59m")
    assert cluster.find(LEASES, "apiserver-gone", "kube-system") is not None
    cluster.clock.advance("2m")
    assert cluster.find(LEASES, "apiserver-gone", "kube-system") is None
    assert cluster.find(LEASES, "other", "kube-system") is not None


# --- stored versions


def migration(group: str, resource: str) -> Any:
    return {
        "apiVersion": "storagemigration.k8s.io/v1",
        "kind": "StorageVersionMigration",
        "metadata": {"name": "move"},
        "spec": {"resource": {"group": group, "resource": resource}},
    }


def state(cluster: Cluster) -> list[tuple[str, str, str]]:
    status = cluster.get(MIGRATIONS, "move").get("status") or {}
    return [(one["type"], one["status"], one["reason"]) for one in status.get("conditions") or ()]


def definition(stored: str) -> Any:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [
        {"name": name, "served": True, "storage": name == stored, "schema": schema} for name in ("v1", "v2")
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rockets.acme.dev"},
        "spec": {
            "group": "acme.dev",
            "scope": "Namespaced",
            "names": {"plural": "rockets", "kind": "Rocket"},
            "versions": versions,
        },
    }


def test_objects_are_stored_in_the_version_of_now(cluster: Cluster) -> None:
    cluster.apply(definition("v1"))
    cluster.clock.advance(5)
    for number in range(3):
        cluster.apply({"apiVersion": "acme.dev/v1", "kind": "Rocket", "metadata": {"name": f"r{number}"}})
    cluster.apply(definition("v2"))
    cluster.clock.advance(5)

    def stored() -> set[str]:
        listing = cluster.kernel.registry.store.list("rockets.acme.dev", None)
        return {record.obj["apiVersion"] for record in listing.records}

    assert stored() == {"acme.dev/v1"}
    cluster.apply(migration("acme.dev", "rockets"))
    cluster.clock.advance(5)
    assert state(cluster) == [
        ("Running", "False", "MigrationCompleted"),
        ("Succeeded", "True", "StorageVersionMigrationSucceeded"),
    ]
    assert stored() == {"acme.dev/v2"}
    definitions = "customresourcedefinitions.v1.apiextensions.k8s.io"
    assert cluster.get(definitions, "rockets.acme.dev")["status"]["storedVersions"] == ["v2"]


def test_a_built_in_resource_is_migrated_too_and_stays_as_it_is(cluster: Cluster) -> None:
    cluster.apply(service())
    before = cluster.get("services", "web")
    cluster.apply(migration("", "services"))
    cluster.settle()
    assert state(cluster)[-1][:2] == ("Succeeded", "True")
    assert cluster.get("services", "web") == before


def test_an_unknown_resource_fails_after_a_minute(cluster: Cluster) -> None:
    cluster.apply(migration("acme.dev", "ships"))
    cluster.clock.advance(50)
    assert state(cluster) == []
    cluster.clock.advance(20)
    assert state(cluster) == [("Failed", "True", "StorageVersionMigrationFailed")]


# --- node ports


def record(cluster: Cluster, port: int) -> Any:
    found = cluster.kernel.registry.store.get(key_of(port))
    return None if found is None else owner(found.obj)


def write_port(cluster: Cluster, port: int, name: str) -> None:
    holder = {"metadata": {"namespace": "default", "name": name}}
    entry = of_service(port, holder, rfc3339(cluster.clock.time()))
    cluster.run(cluster.kernel.registry.store.create(key_of(port), entry))


def test_a_node_port_that_nobody_has_is_free_after_nine_minutes(cluster: Cluster) -> None:
    write_port(cluster, 30200, "crashed")
    cluster.clock.advance("8m")
    with pytest.raises(Invalid, match="provided port is already allocated"):
        cluster.create(service(type="NodePort", ports=[{"port": 80, "nodePort": 30200}]))
    cluster.clock.advance("4m")
    cluster.create(service(type="NodePort", ports=[{"port": 80, "nodePort": 30200}]))
    assert record(cluster, 30200) == ("default", "web")


def test_a_node_port_without_a_record_is_recorded_and_told(cluster: Cluster) -> None:
    cluster.create(service(type="NodePort", ports=[{"port": 80, "nodePort": 30200}]))
    store = cluster.kernel.registry.store
    found = store.get(key_of(30200))
    assert found is not None
    cluster.run(store.delete(found.key, found.obj))
    cluster.clock.advance("4m")
    assert record(cluster, 30200) == ("default", "web")
    assert told(cluster, "PortNotAllocated") == ["Port 30200 is not allocated; repairing"]
    assert events(cluster, "PortNotAllocated")[0]["source"] == {
        "component": "portallocator-repair-controller"
    }


def test_a_record_of_somebody_who_is_gone_becomes_that_of_who_has_the_port(cluster: Cluster) -> None:
    cluster.create(service(type="NodePort", ports=[{"port": 80, "nodePort": 30200}]))
    store = cluster.kernel.registry.store
    found = store.get(key_of(30200))
    assert found is not None
    cluster.run(store.delete(found.key, found.obj))
    write_port(cluster, 30200, "gone")
    cluster.clock.advance("4m")
    assert record(cluster, 30200) == ("default", "web")


def test_a_node_port_of_two_services_is_told(cluster: Cluster) -> None:
    cluster.create(service("a", type="NodePort", ports=[{"port": 80, "nodePort": 30200}]))
    stored = cluster.kernel.registry.store.get(Key("services", "default", "a"))
    assert stored is not None
    copy = {**stored.obj, "metadata": {**stored.obj["metadata"], "name": "b", "uid": "another"}}
    copy["spec"] = {**copy["spec"], "clusterIP": "None", "clusterIPs": ["None"]}
    cluster.run(cluster.kernel.registry.store.create(Key("services", "default", "b"), copy))
    cluster.clock.advance("4m")
    assert told(cluster, "PortAlreadyAllocated") == [
        "Port 30200 was assigned to multiple services; please recreate service"
    ]
