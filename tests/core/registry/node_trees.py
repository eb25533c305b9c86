"""A small Deployment-like schema, made by hand."""

from __future__ import annotations

from kubernel.registry.schema import Node


def struct(**fields: Node) -> Node:
    node = Node("object")
    node.properties = fields
    return node


def map_of(value: Node) -> Node:
    node = Node("object")
    node.additional = value
    return node


def atomic(node: Node) -> Node:
    node.map_type = node.list_type = "atomic"
    return node


def list_of(items: Node) -> Node:
    node = Node("array")
    node.items = items
    return node


def set_of(items: Node) -> Node:
    node = list_of(items)
    node.list_type = "set"
    return node


def keyed(items: Node, *keys: str) -> Node:
    node = list_of(items)
    node.list_type, node.map_keys = "map", keys
    return node


def default(node: Node, value: object) -> Node:
    node.default = value
    return node


def text() -> Node:
    return Node("string")


def deployment() -> Node:
    port = struct(containerPort=Node("integer"), protocol=default(text(), "TCP"), name=text())
    container = struct(
        name=text(),
        image=text(),
        args=list_of(text()),
        ports=keyed(port, "containerPort", "protocol"),
        env=keyed(struct(name=text(), value=text()), "name"),
    )
    metadata = struct(
        name=text(),
        namespace=text(),
        labels=map_of(text()),
        annotations=map_of(text()),
        finalizers=set_of(text()),
    )
    return struct(
        apiVersion=text(),
        kind=text(),
        metadata=metadata,
        spec=struct(
            replicas=Node("integer"),
            paused=Node("boolean"),
            selector=atomic(struct(matchLabels=map_of(text()))),
            template=struct(
                metadata=metadata,
                spec=struct(
                    containers=keyed(container, "name"),
                    securityContext=struct(runAsUser=Node("integer"), fsGroup=Node("integer")),
                    nodeSelector=atomic(map_of(text())),
                ),
            ),
        ),
        status=struct(replicas=Node("integer"), x=Node("integer")),
    )
