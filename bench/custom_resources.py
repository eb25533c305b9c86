"""Custom objects against objects of a built-in type: ``python bench/custom_resources.py [count]``.

In-process, memory store, no controllers. A custom type is given the very schema of a ConfigMap-like object with a
spec of 20 fields (structural, with a default, a pattern and an enum), and a second one CEL rules besides; the built-in
type is a Deployment of about the same size. Medians of single requests; the ratio is to the built-in type. Lists are
of all objects, in the stored version, in another version (None conversion) and after a change of the schema.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from pipeline import ADMIN, container, median

from kubernel.config import parse
from kubernel.kernel import Kernel
from kubernel.registry.operations import ListOptions
from kubernel.registry.request import WriteOptions
from kubernel.registry.types import ResourceType

GROUP = "bench.example.com"
DEFINITIONS = ("apiextensions.k8s.io", "v1", "customresourcedefinitions")
Obj = dict[str, Any]


def part() -> Obj:
    """A container's schema, as an operator's author would write it."""
    text: Obj = {"type": "string"}
    return {
        "type": "object",
        "required": ["name", "image"],
        "properties": {
            "name": {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9-]+$"},
            "image": text,
            "imagePullPolicy": {
                "type": "string",
                "enum": ["Always", "IfNotPresent"],
                "default": "IfNotPresent",
            },
            "command": {"type": "array", "items": text},
            "env": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": text, "value": text},
                    "required": ["name"],
                },
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            "ports": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "containerPort": {"type": "integer", "minimum": 1, "maximum": 65535},
                        "name": text,
                        "protocol": {"type": "string", "default": "TCP"},
                    },
                },
            },
            "resources": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "readinessProbe": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "volumeMounts": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": text, "mountPath": text}},
            },
        },
    }


def definition(kind: str, rules: list[Obj]) -> Obj:
    spec: Obj = {
        "type": "object",
        "properties": {
            "replicas": {"type": "integer", "minimum": 0, "default": 1},
            "parts": {"type": "array", "maxItems": 10, "items": part()},
        },
    }
    if rules:
        spec["x-kubernetes-validations"] = rules
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    plural = kind.lower() + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": schema},
                {"name": "v2", "served": True, "storage": False, "schema": schema},
            ],
        },
    }


def custom(kind: str, name: str) -> Obj:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "shop"}},
        "spec": {"parts": [container(number) for number in range(2)]},
    }


def builtin(name: str) -> Obj:
    labels = {"app": "shop"}
    spec = {
        "containers": [container(number) for number in range(2)],
        "volumes": [{"name": name, "emptyDir": {}} for name in ("config", "scratch")],
    }
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


async def served(kernel: Kernel, made: Obj) -> tuple[ResourceType, ResourceType]:
    """Both versions of a definition, once it is established."""
    registry = kernel.registry
    definitions = registry.lookup(*DEFINITIONS)
    assert definitions is not None
    await registry.create(ADMIN, definitions, "", made, WriteOptions())
    while True:
        found = [registry.lookup(GROUP, name, made["spec"]["names"]["plural"]) for name in ("v1", "v2")]
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
        await asyncio.sleep(0)


async def run(directory: str, count: int) -> None:
    none: Obj = {"network": None, "runtime": None, "proxy": None}
    empty = {role: [] for role in ("api", "auth", "node", "scheduler", "scheduler_policy")}
    plugins = {**none, **empty, "store": "memory", "controller": ["bootstrap", "customresources"]}
    plugins["admission"] = ["namespace_lifecycle"]
    kernel = Kernel(parse({"cluster": {"dataDir": directory}, "plugins": plugins}))
    await kernel.start()
    registry = kernel.registry
    options = WriteOptions(field_manager="bench", field_validation="Strict")
    deployments = registry.lookup("apps", "v1", "deployments")
    assert deployments is not None
    plain, other = await served(kernel, definition("Plain", []))
    rules: list[Obj] = [
        {"rule": "self.replicas <= 10"},
        {
            "rule": "self.parts.all(p, p.image.startsWith('registry.example.com/'))",
            "message": "another registry",
        },
        {"rule": "!has(oldSelf.replicas) || self.replicas >= oldSelf.replicas - 5"},
    ]
    ruled, _ = await served(kernel, definition("Ruled", rules))
    bodies: list[tuple[str, ResourceType, Callable[[str], Obj]]] = [
        ("Deployment, built in", deployments, builtin),
        ("custom", plain, lambda name: custom("Plain", name)),
        ("custom, 3 CEL rules", ruled, lambda name: custom("Ruled", name)),
    ]
    base: dict[str, float] = {}

    async def report(what: str, label: str, runs: int, one: Callable[[int], Awaitable[Any]]) -> None:
        took = await median(runs, one)
        first = base.setdefault(what, took)
        print(f"{what:<22}{label:<24}{took:8.3f} ms   {took / first:5.2f}")

    for label, type, make in bodies:

        async def create(number: int, type: ResourceType = type, make: Callable[[str], Obj] = make) -> None:
            raw = orjson.dumps(make(f"o-{number}"))
            await registry.create(ADMIN, type, "default", orjson.loads(raw), options, raw=raw)

        await report("create", label, count, create)
    for label, type, _ in bodies:

        async def patch(number: int, type: ResourceType = type) -> None:
            body = {"spec": {"replicas": number % 5}}
            await registry.patch(ADMIN, type, "default", f"o-{number}", "merge", body, options)

        await report("merge patch", label, count, patch)

    def listing(type: ResourceType) -> Callable[[int], Awaitable[None]]:
        async def one(number: int) -> None:
            page = await registry.list(type, "default", ListOptions())
            assert sum(len(registry.encode(record, type)) for record in page.records)

        return one

    what = f"list of {count + count // 10}"
    await report(what, "Deployment, built in", 20, listing(deployments))
    await report(what, "custom", 20, listing(plain))
    await report(what, "custom, other version", 20, listing(other))
    await kernel.stop()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{'':<46}{'median':>8}      ratio to the built-in type")
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(str(Path(directory) / "data"), count))


if __name__ == "__main__":
    main()
