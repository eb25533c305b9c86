"""µs for decoding, defaulting and validating a 5 KB pod, as a ratio of ``orjson.loads`` of the same pod.

Run: python bench/schema.py
"""

from __future__ import annotations

import timeit
from typing import Any

import orjson

from kubernel.registry.defaulting import apply_defaults
from kubernel.registry.pruning import decode_check, duplicate_fields
from kubernel.registry.validation import validate
from kubernel_plugins.api.builtin.schemas import Schemas
from kubernel_plugins.api.builtin.tables.overlay import overlay


def container(name: str) -> dict[str, Any]:
    probe = {
        "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
        "initialDelaySeconds": 5,
        "periodSeconds": 10,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    return {
        "name": name,
        "image": f"registry.example.com/shop/{name}:1.2.3",
        "command": ["/bin/serve", "--port", "8080"],
        "args": ["--verbose", "--log-format=json", f"--name={name}"],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": [
            *({"name": f"SETTING_{n}", "value": f"value of setting {n}"} for n in range(8)),
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "password"}}},
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "1", "memory": "256Mi"},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/config", "readOnly": True},
            {"name": "data", "mountPath": "/var/lib/data"},
        ],
        "livenessProbe": probe,
        "readinessProbe": probe,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
    }


POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "shop-7d9c5b8f6d-x2x9z",
        "namespace": "shop",
        "labels": {"app": "shop", "pod-template-hash": "7d9c5b8f6d", "tier": "backend"},
        "annotations": {"example.com/checksum": "a" * 64, "example.com/note": 'says {"a": 1}'},
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "shop-7d9c5b8f6d",
                "uid": "5d9f0b0e-7f43-4f44-9b0c-000000000000",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    },
    "spec": {
        "containers": [container("web"), container("worker"), container("proxy")],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "shop",
        "serviceAccount": "shop",
        "securityContext": {"fsGroup": 1000},
        "schedulerName": "default-scheduler",
        "tolerations": [
            {"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute"}
            for why in ("not-ready", "unreachable")
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": "shop", "defaultMode": 420}},
            {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
        "enableServiceLinks": True,
    },
}


def micros(function: Any, number: int = 1000) -> float:
    return min(timeit.repeat(function, number=number, repeat=7)) / number * 1e6


def main() -> None:
    raw = orjson.dumps(POD)
    schemas = Schemas()
    schemas.overlay(overlay())
    node = schemas.for_kind("", "v1", "Pod")
    obj = orjson.loads(raw)
    untidy = orjson.loads(raw)
    untidy["metadata"]["creationTimestamp"] = None
    decode_check(node, obj)
    apply_defaults(node, obj)
    for _ in range(20):  # past the first looks, which make the walkers and the types
        validate(node, obj)
    base = micros(lambda: orjson.loads(raw))
    print(f"pod of {len(raw)} bytes; orjson.loads {base:.1f} µs")
    total = 0.0
    for name, function in (
        ("decode_check", lambda: decode_check(node, obj)),
        ("apply_defaults", lambda: apply_defaults(node, obj)),
        ("validate", lambda: validate(node, obj)),
    ):
        took = micros(function)
        total += took
        print(f"{name:16} {took:6.1f} µs  {took / base:5.2f} x orjson.loads")
    print(f"{'together':16} {total:6.1f} µs  {total / base:5.2f} x orjson.loads")

    def closer() -> None:
        untidy["metadata"]["creationTimestamp"] = None
        decode_check(node, untidy)

    took = micros(closer)
    print(f"{'with a null':16} {took:6.1f} µs  {took / base:5.2f} x orjson.loads (decode_check)")
    took = micros(lambda: duplicate_fields(raw))
    print(f"{'duplicate_fields':16} {took:6.1f} µs  {took / base:5.2f} x orjson.loads")


if __name__ == "__main__":
    main()
