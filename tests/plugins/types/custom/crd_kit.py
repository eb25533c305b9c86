"""Definitions for tests, and the clusters that serve them."""

from __future__ import annotations

from typing import Any

from kubernel.objects import conditions
from kubernel.testing import Cluster

DEFINITIONS = "customresourcedefinitions.v1.apiextensions.k8s.io"

Obj = dict[str, Any]


def version(name: str = "v1", schema: Obj | None = None, **more: Any) -> Obj:
    """A version of a definition; ``schema`` is of the whole object."""
    return {
        "name": name,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"} if schema is None else schema},
        **more,
    }


def definition(*versions: Obj, kind: str = "Widget", group: str = "example.com", **spec: Any) -> Obj:
    """A CustomResourceDefinition; without versions it has one that takes any spec and status."""
    plural = kind.lower() + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": list(versions) or [version(schema=of_spec(preserve()))],
            **spec,
        },
    }


def preserve(**more: Any) -> Obj:
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **more}


def of_spec(schema: Obj, **more: Any) -> Obj:
    """The schema of an object whose spec has this one; ``more`` are other top-level fields."""
    return {"type": "object", "properties": {"spec": schema, **more}}


def fields(**properties: Obj) -> Obj:
    return {"type": "object", "properties": properties}


def serve(cluster: Cluster, made: Obj) -> Obj:
    """Create a definition and wait until it is served; gives it as it is then."""
    cluster.create(made, namespace="")
    cluster.settle()
    cluster.wait(
        lambda: conditions.find(cluster.get(DEFINITIONS, made["metadata"]["name"], ""), "Established")
    )
    cluster.settle()
    return cluster.get(DEFINITIONS, made["metadata"]["name"], "")


def widget(name: str = "one", api_version: str = "example.com/v1", **rest: Any) -> Obj:
    return {
        "apiVersion": api_version,
        "kind": "Widget",
        "metadata": {"name": name, "namespace": "default"},
        **rest,
    }
