"""Services: addresses and ports are given out, kept and taken back."""

from __future__ import annotations

import random
from typing import Any

import pytest
from builtin_kit import Cluster, run, service

from kubernel.errors import AlreadyExists, InternalError, Invalid
from kubernel_plugins.api.builtin.strategies.allocation import AddressPools, Full, PortPool


def test_a_service_gets_an_address_and_its_defaults() -> None:
    async def test(cluster: Cluster) -> None:
        spec = (await cluster.create(service()))["spec"]
        assert spec["clusterIP"].startswith("10.96.")
        assert spec["clusterIPs"] == [spec["clusterIP"]]
        assert spec["ports"] == [{"port": 80, "targetPort": 80, "protocol": "TCP"}]
        assert {
            key: spec[key]
            for key in ("type", "sessionAffinity", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
        } == {
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        }

    run(test)


def test_client_affinity_lasts_three_hours() -> None:
    async def test(cluster: Cluster) -> None:
        spec = (await cluster.create(service(sessionAffinity="ClientIP")))["spec"]
        assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}

    run(test)


def test_an_address_is_given_once_and_again_after_deletion() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(service("one", clusterIP="10.96.0.10"))
        with pytest.raises(Invalid) as refused:
            await cluster.create(service("two", clusterIP="10.96.0.10"))
        assert (
            'spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided '
            "IP is already allocated"
        ) in refused.value.message
        await cluster.delete("services", "one")
        await cluster.create(service("two", clusterIP="10.96.0.10"))

    run(test)


def test_a_foreign_address_is_refused() -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid, match="does not match the current range"):
            await cluster.create(service(clusterIP="192.168.1.1"))

    run(test)


def test_headless_services_have_no_address() -> None:
    async def test(cluster: Cluster) -> None:
        spec = (await cluster.create(service(clusterIP="None")))["spec"]
        assert (spec["clusterIPs"], spec["ipFamilyPolicy"]) == (["None"], "SingleStack")
        bare = service("bare", clusterIP="None")
        del bare["spec"]["selector"]
        spec = (await cluster.create(bare))["spec"]
        assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])

    run(test)


def test_external_names_need_a_name_and_get_no_address() -> None:
    async def test(cluster: Cluster) -> None:
        spec = (await cluster.create(service(type="ExternalName", externalName="example.org")))["spec"]
        assert "clusterIP" not in spec
        assert "internalTrafficPolicy" not in spec
        with pytest.raises(Invalid, match=r"spec.externalName: Required value"):
            await cluster.create(service("other", type="ExternalName"))

    run(test)


def test_node_ports_are_given_kept_and_released() -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(service(type="NodePort"))
        number = created["spec"]["ports"][0]["nodePort"]
        assert 30000 <= number <= 32767
        assert created["spec"]["externalTrafficPolicy"] == "Cluster"
        with pytest.raises(Invalid, match="provided port is already allocated"):
            await cluster.create(service("two", type="NodePort", ports=[{"port": 80, "nodePort": number}]))
        # A client that applies its own manifest again leaves out what was allocated.
        again = service(type="NodePort")
        again["metadata"]["resourceVersion"] = created["metadata"]["resourceVersion"]
        kept = await cluster.update(again)
        assert kept["spec"]["ports"][0]["nodePort"] == number
        assert kept["spec"]["clusterIP"] == created["spec"]["clusterIP"]
        del kept["spec"]["ports"][0]["nodePort"], kept["spec"]["externalTrafficPolicy"]
        kept["spec"]["type"] = "ClusterIP"
        plain = await cluster.update(kept)
        assert "nodePort" not in plain["spec"]["ports"][0]
        await cluster.create(service("two", type="NodePort", ports=[{"port": 80, "nodePort": number}]))

    run(test)


def test_ports_out_of_range_are_refused() -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid, match="The range of valid ports is 30000-32767"):
            await cluster.create(service(type="NodePort", ports=[{"port": 80, "nodePort": 80}]))

    run(test)


def test_one_number_serves_a_port_over_two_protocols() -> None:
    async def test(cluster: Cluster) -> None:
        ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]
        spec = (await cluster.create(service(type="NodePort", ports=ports)))["spec"]
        assert len({port["nodePort"] for port in spec["ports"]}) == 1

    run(test)


def test_a_dry_run_and_a_refused_service_keep_nothing() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(service(clusterIP="10.96.0.10"), dry_run=True)
        with pytest.raises(Invalid):
            await cluster.create(service("bad", clusterIP="10.96.0.10", ports=[{"port": 0}]))
        await cluster.create(service(clusterIP="10.96.0.10"))

    run(test)


ADDRESSES = ("ipaddresses", "networking.k8s.io")


def entry(name: str, parent: dict[str, str]) -> dict[str, Any]:
    frame = {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": name}}
    return {**frame, "spec": {"parentRef": parent}}


def there(cluster: Cluster) -> set[str]:
    return {record.key.name for record in cluster.store.list("ipaddresses.networking.k8s.io").records}


def test_a_service_that_was_created_has_its_ip_address_object_and_loses_it_when_deleted() -> None:
    async def test(cluster: Cluster) -> None:
        ip = (await cluster.create(service("one")))["spec"]["clusterIP"]
        found = cluster.get(ADDRESSES[0], ip, ADDRESSES[1], "")
        assert found["spec"]["parentRef"] == {
            "resource": "services",
            "namespace": "default",
            "name": "one",
        }
        assert found["metadata"]["labels"] == {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }
        await cluster.delete("services", "one")
        assert there(cluster) == set()

    run(test)


def test_a_service_that_becomes_an_external_name_lets_its_ip_address_object_go() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(service("one"))
        ip = obj["spec"]["clusterIP"]
        obj["spec"] = {"type": "ExternalName", "externalName": "acme.dev"}
        obj = await cluster.update(obj)
        assert there(cluster) == set()
        obj["spec"] = {"type": "ClusterIP", "ports": [{"port": 80}], "clusterIP": ip}
        await cluster.update(obj)
        assert there(cluster) == {ip}

    run(test)


def test_a_service_that_is_refused_or_only_tried_leaves_no_ip_address_object() -> None:
    async def test(cluster: Cluster) -> None:
        tried = await cluster.create(service("tried"), dry_run=True)
        assert tried["spec"]["clusterIP"] == "10.96.0.0"
        await cluster.create(service("tried", clusterIP="10.96.0.10"), dry_run=True)
        await cluster.create(service("one", clusterIP="10.96.0.9"))
        with pytest.raises(AlreadyExists):
            await cluster.create(service("one", clusterIP="10.96.0.10"))
        assert there(cluster) == {"10.96.0.9"}
        await cluster.create(service("two", clusterIP="10.96.0.10"))

    run(test)


def test_an_address_of_another_server_is_taken_at_once_and_free_again_when_it_lets_go() -> None:
    gateway = {"group": "acme.dev", "resource": "gateways", "name": "main"}

    async def test(cluster: Cluster) -> None:
        cluster.handle.cluster.service_cidr = "10.96.0.0/30"
        await cluster.create(entry("10.96.0.1", gateway))
        with pytest.raises(Invalid, match="provided IP is already allocated"):
            await cluster.create(service("asks", clusterIP="10.96.0.1"))
        assert (await cluster.create(service("any")))["spec"]["clusterIP"] == "10.96.0.2"
        await cluster.delete("ipaddresses", "10.96.0.1", group="networking.k8s.io")
        await cluster.create(service("asks", clusterIP="10.96.0.1"))

    run(test)


def test_who_loses_the_race_for_an_address_gets_another_one_or_is_refused() -> None:
    """Another server writes its IPAddress while this one is about to."""
    gateway = {"group": "acme.dev", "resource": "gateways", "name": "main"}

    async def test(cluster: Cluster) -> None:
        cluster.handle.cluster.service_cidr = "10.96.0.0/29"
        real = cluster.store.create
        raced: list[str] = []

        async def create(key: Any, obj: Any) -> Any:
            if key.resource.startswith("ipaddresses") and len(raced) < 2:
                raced.append(key.name)
                await real(key, {**obj, "spec": {"parentRef": gateway}})
            return await real(key, obj)

        cluster.store.create = create  # type: ignore[method-assign]
        made = await cluster.create(service("any"))
        assert made["spec"]["clusterIP"] not in raced
        assert made["spec"]["clusterIPs"] == [made["spec"]["clusterIP"]]
        raced.pop()
        free = next(f"10.96.0.{n}" for n in range(1, 7) if f"10.96.0.{n}" not in there(cluster))
        with pytest.raises(Invalid, match="provided IP is already allocated"):
            await cluster.create(service("asks", clusterIP=free))
        assert {record.key.name for record in cluster.store.list("services").records} == {"any"}

    run(test)


def test_after_a_restart_what_was_given_is_still_taken() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(
            service("one", clusterIP="10.96.0.10", type="NodePort", ports=[{"port": 1, "nodePort": 30001}])
        )
        for type in list(cluster.registry.types()):
            cluster.registry.unregister(type)
        cluster.register()
        with pytest.raises(Invalid, match="provided IP is already allocated"):
            await cluster.create(service("two", clusterIP="10.96.0.10"))
        with pytest.raises(Invalid, match="provided port is already allocated"):
            await cluster.create(service("two", type="NodePort", ports=[{"port": 1, "nodePort": 30001}]))

    run(test)


def test_the_address_may_not_change() -> None:
    async def test(cluster: Cluster) -> None:
        obj = await cluster.create(service())
        obj["spec"]["clusterIP"] = "10.96.0.77"
        obj["spec"]["clusterIPs"] = ["10.96.0.77"]
        with pytest.raises(Invalid, match="may not change once set"):
            await cluster.update(obj)
        await cluster.create(service("two", clusterIP="10.96.0.77"))

    run(test)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"ports": []}, "spec.ports: Required value", id="no-ports"),
        pytest.param(
            {"ports": [{"port": 70000}]},
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            id="range",
        ),
        pytest.param(
            {"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name: Required value", id="names-needed"
        ),
        pytest.param(
            {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]},
            'spec.ports[1].name: Duplicate value: "a"',
            id="duplicate-name",
        ),
        pytest.param(
            {"type": "Odd"},
            'spec.type: Unsupported value: "Odd": supported values: "ClusterIP", "ExternalName", '
            '"LoadBalancer", "NodePort"',
            id="type",
        ),
    ],
)
def test_wrong_services_are_refused(spec: dict[str, Any], message: str) -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(Invalid) as refused:
            await cluster.create(service(**spec))
        assert message in refused.value.message

    run(test)


def pools(cidr: str) -> AddressPools:
    made = AddressPools([], lambda address: False)
    made.use([cidr])
    return made


def test_automatic_addresses_leave_the_first_ones_for_those_who_ask() -> None:
    pool = pools("10.0.0.0/24")
    rng = random.Random(1)
    given = {pool.take_any(rng) for _ in range(238)}
    assert min(int(address.rpartition(".")[2]) for address in given) == 17
    assert pool.take_any(rng) in {f"10.0.0.{i}" for i in range(1, 17)}


def test_a_pool_that_is_full_says_so() -> None:
    pool = pools("10.0.0.0/30")
    rng = random.Random(1)
    assert {pool.take_any(rng), pool.take_any(rng)} == {"10.0.0.1", "10.0.0.2"}
    with pytest.raises(Full):
        pool.take_any(rng)
    ports = PortPool((), lambda port: False, range(5, 6))
    assert ports.take_any(rng) == 5
    ports.release(5)
    assert ports.take(5)


def test_a_full_range_is_an_internal_error() -> None:
    async def test(cluster: Cluster) -> None:
        cluster.handle.cluster.service_cidr = "10.96.0.0/31"
        with pytest.raises(InternalError, match="range is full"):
            await cluster.create(service())

    run(test)
