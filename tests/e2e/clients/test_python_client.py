"""The official Python client: every built-in type there and back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from minimal import minimal

kubernetes = pytest.importorskip("kubernetes", reason="pip install 'kubernel[clients]'")
dynamic = pytest.importorskip("kubernetes.dynamic")

CLIENT = f"kubernetes {metadata.version('kubernetes')} (Python)"
_LABEL = "minimal.example.com/round-trip"
_ALL = {"create", "get", "list", "watch", "update", "patch", "delete"}


@pytest.fixture(scope="module")
def api(kubeconfig: Path) -> Iterator[Any]:
    with kubernetes.config.new_client_from_config(str(kubeconfig)) as client:
        yield client


@pytest.fixture(scope="module")
def cluster(api: Any) -> Any:
    return dynamic.DynamicClient(api)


def _types(cluster: Any) -> list[Any]:
    found = {}
    for resource in cluster.resources.search():
        if (
            not isinstance(resource, dynamic.resource.ResourceList)
            and set(resource.verbs or ()) >= _ALL
            and "/" not in resource.name
        ):
            found[resource.group_version, resource.kind] = resource
    return [found[key] for key in sorted(found)]


def _replaced(resource: Any, read: Any, where: dict[str, str]) -> Any:
    while True:
        body = read.to_dict()
        body["metadata"].setdefault("labels", {})[_LABEL] = "replaced"
        try:
            return resource.replace(body=body, **where)
        except dynamic.exceptions.ConflictError:
            # Its controller wrote in between.
            read = resource.get(name=read.metadata.name, **where)


def _round_trip(resource: Any, namespace: str) -> None:
    where = {"namespace": namespace} if resource.namespaced else {}
    body = minimal(resource.group_version, resource.kind, "round-trip", where.get("namespace", ""))
    name = body["metadata"]["name"]
    made = resource.create(body=body, **where)
    try:
        read = resource.get(name=name, **where)
        assert read.metadata.uid == made.metadata.uid
        assert (read.kind, read.apiVersion) == (resource.kind, resource.group_version)
        replaced = _replaced(resource, read, where)
        assert replaced.metadata.labels[_LABEL] == "replaced"
        assert int(replaced.metadata.resourceVersion) > int(made.metadata.resourceVersion)
        patch = {"metadata": {"labels": {_LABEL: "patched"}}}
        merge = "application/merge-patch+json"
        patched = resource.patch(name=name, body=patch, content_type=merge, **where)
        assert patched.metadata.labels[_LABEL] == "patched"
        listed = resource.get(label_selector=f"{_LABEL}=patched", **where)
        assert [item.metadata.name for item in listed.items] == [name]
        event = next(
            resource.watch(
                field_selector=f"metadata.name={name}",
                resource_version=replaced.metadata.resourceVersion,
                timeout=10,
                **where,
            )
        )
        assert (event["type"], event["object"].metadata.name) == ("MODIFIED", name)
    finally:
        resource.delete(name=name, body={"propagationPolicy": "Background"}, **where)


@pytest.mark.behaviour("every built-in type")
def test_every_built_in_type_there_and_back(cluster: Any, namespace: str) -> None:
    types = _types(cluster)
    assert len(types) > 50
    failures = []
    for resource in types:
        try:
            _round_trip(resource, namespace)
        except Exception as error:
            told = getattr(error, "body", None) or error
            failures.append(f"{resource.group_version} {resource.kind}: {type(error).__name__} {told}")
    assert not failures, "\n".join(failures)


@pytest.mark.behaviour("typed objects")
def test_typed_objects_keep_their_values(api: Any, namespace: str) -> None:
    client = kubernetes.client
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    labels = {"app": "typed"}
    container = client.V1Container(
        name="main",
        image="none",
        resources=client.V1ResourceRequirements(requests={"memory": "1024Mi", "cpu": "0.5"}),
    )
    made = apps.create_namespaced_deployment(
        namespace,
        client.V1Deployment(
            metadata=client.V1ObjectMeta(name="typed"),
            spec=client.V1DeploymentSpec(
                replicas=0,
                selector=client.V1LabelSelector(match_labels=labels),
                template=client.V1PodTemplateSpec(
                    metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
                ),
            ),
        ),
    )
    assert made.spec.template.spec.containers[0].resources.requests == {"memory": "1Gi", "cpu": "500m"}
    assert made.metadata.generation == 1
    scale = apps.read_namespaced_deployment_scale("typed", namespace)
    scale.spec.replicas, scale.metadata.resource_version = 1, None
    assert apps.replace_namespaced_deployment_scale("typed", namespace, scale).spec.replicas == 1
    secret = core.create_namespaced_secret(
        namespace, client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"a": "b"})
    )
    assert secret.data == {"a": "Yg=="}


@pytest.mark.behaviour("errors")
def test_refusals_carry_their_status(api: Any, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    with pytest.raises(kubernetes.client.ApiException) as missing:
        core.read_namespaced_config_map("nothing", namespace)
    assert missing.value.status == 404
    body = {"metadata": {"name": "a"}, "data": {"x": "1"}}
    made = core.create_namespaced_config_map(namespace, body)
    with pytest.raises(kubernetes.client.ApiException) as again:
        core.create_namespaced_config_map(namespace, body)
    assert (again.value.status, '"AlreadyExists"' in again.value.body) == (409, True)
    core.patch_namespaced_config_map("a", namespace, {"data": {"x": "2"}})
    with pytest.raises(kubernetes.client.ApiException) as stale:
        core.replace_namespaced_config_map("a", namespace, made)
    assert (stale.value.status, '"Conflict"' in stale.value.body) == (409, True)


@pytest.mark.behaviour("chunked lists")
def test_a_list_in_chunks_is_whole(api: Any, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    names = [f"c{number:02}" for number in range(11)]
    for name in names:
        core.create_namespaced_config_map(namespace, {"metadata": {"name": name, "labels": {"chunk": "y"}}})
    found, token, versions = [], None, set()
    while True:
        page = core.list_namespaced_config_map(namespace, limit=4, _continue=token, label_selector="chunk")
        found += [item.metadata.name for item in page.items]
        versions.add(page.metadata.resource_version)
        token = page.metadata._continue
        if not token:
            break
    assert (found, len(versions)) == (names, 1)


@pytest.mark.behaviour("watch")
def test_a_watch_goes_on_where_a_list_ended(api: Any, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    watch = kubernetes.watch.Watch()
    seen: list[tuple[str, str]] = []

    def write() -> None:
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "w"}})
        core.patch_namespaced_config_map("w", namespace, {"data": {"x": "1"}})
        core.delete_namespaced_config_map("w", namespace)

    writer = threading.Thread(target=write)
    writer.start()
    for event in watch.stream(
        core.list_namespaced_config_map,
        namespace,
        resource_version=start,
        timeout_seconds=20,
        field_selector="metadata.name=w",
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            break
    writer.join()
    assert seen == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")]


@pytest.mark.behaviour("server-side apply")
def test_apply_conflicts_and_force(cluster: Any, namespace: str) -> None:
    deployments = cluster.resources.get(api_version="apps/v1", kind="Deployment")
    body = minimal("apps/v1", "Deployment", "applied", namespace)
    deployments.server_side_apply(body=body, namespace=namespace, field_manager="one")
    other = {**body, "spec": {**body["spec"], "replicas": 2}}
    with pytest.raises(dynamic.exceptions.ConflictError) as conflict:
        deployments.server_side_apply(body=other, namespace=namespace, field_manager="two")
    assert 'Apply failed with 1 conflict: conflict with \\"one\\": .spec.replicas' in conflict.value.body
    forced = deployments.server_side_apply(
        body=other, namespace=namespace, field_manager="two", force_conflicts=True
    )
    assert forced.spec.replicas == 2
