"""What patches, managed fields and applies cost on a 5 KB pod, in µs and as ratios to decoding that pod.

python bench/patch.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from kubernel.registry.apply import apply_object, track_update
from kubernel.registry.patch import json_patch, merge_patch, strategic_patch
from kubernel_plugins.api.builtin.schemas import Schemas

NOW = "2026-01-02T03:04:05Z"


def pod() -> dict[str, Any]:
    def container(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "image": f"registry.example.com/team/{name}:1.2.3",
            "args": ["--listen=:8080", "--level=info"],
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "env": [{"name": f"SETTING_{n}", "value": f"value-{n}"} for n in range(4)],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {
                "httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP"},
                "periodSeconds": 5,
            },
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
        }

    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-7d4b9c6f5d-x2x7v",
            "namespace": "default",
            "uid": "6f0e3a53-6c1f-4c44-9d3f-0b9c5d3f9a11",
            "resourceVersion": "12345",
            "creationTimestamp": NOW,
            "labels": {"app": "web", "pod-template-hash": "7d4b9c6f5d"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "web-7d4b9c6f5d",
                    "uid": "0b9c5d3f-6c1f-4c44-9d3f-6f0e3a539a11",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "containers": [container("web"), container("proxy")],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "nodeName": "node-1",
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30,
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
            ],
        },
        "status": {"phase": "Pending"},
    }


def status(ready: str) -> dict[str, Any]:
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "hostIP": "10.0.0.1",
        "podIP": "10.1.0.7",
        "podIPs": [{"ip": "10.1.0.7"}],
        "startTime": NOW,
        "conditions": [{"type": kind, "status": ready, "lastTransitionTime": NOW} for kind in kinds],
        "containerStatuses": [
            {
                "name": name,
                "ready": ready == "True",
                "restartCount": 0,
                "image": f"{name}:1.2.3",
                "state": {"running": {"startedAt": NOW}},
            }
            for name in ("web", "proxy")
        ],
    }


def measure(work: Callable[[], object], rounds: int = 7) -> float:
    """The best round's µs a call."""
    best = float("inf")
    for _ in range(rounds):
        count = 300
        start = time.perf_counter()
        for _ in range(count):
            work()
        best = min(best, (time.perf_counter() - start) / count)
    return best * 1e6


def main() -> None:
    node = Schemas().for_kind("", "v1", "Pod")
    created = pod()
    names = {"api_version": "v1", "now": NOW}

    def tracked(old: Any, new: Any, manager: str, subresource: str = "") -> Any:
        fields = track_update(node, old, new, manager=manager, subresource=subresource, **names)
        return {**new, "metadata": {**new["metadata"], "managedFields": fields}}

    first = tracked(None, created, "kube-controller-manager")
    running = tracked(first, {**first, "status": status("False")}, "kubelet", "status")
    data = orjson.dumps(running)
    ready = orjson.loads(data)
    ready["status"] = status("True")
    stored = orjson.loads(data)
    config = {key: created[key] for key in ("apiVersion", "kind", "spec")} | {
        "metadata": {"name": created["metadata"]["name"], "labels": {"app": "web"}}
    }
    arguments = {"manager": "me", "subresource": "", "force": True, **names}
    applied = apply_object(node, stored, config, **arguments)
    changed = orjson.loads(orjson.dumps(config))
    changed["spec"]["containers"][0]["image"] = "web:2"
    patch = {
        "status": {
            "$setElementOrder/conditions": [{"type": each["type"]} for each in ready["status"]["conditions"]],
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "ContainersReady", "status": "True"},
            ],
        }
    }
    ops = [{"op": "replace", "path": "/status/phase", "value": "Failed"}]

    decode = measure(lambda: orjson.loads(data))
    print(f"pod of {len(data)} bytes; orjson.loads {decode:.1f} µs")
    rows: list[tuple[str, Callable[[], object]]] = [
        ("JSON patch, one operation", lambda: json_patch(stored, ops)),
        ("merge patch of the status", lambda: merge_patch(stored, {"status": {"phase": "Failed"}})),
        ("strategic patch of two conditions", lambda: strategic_patch(node, stored, patch)),
        ("tracking a status update", lambda: tracked(stored, ready, "kubelet", "status")),
        ("tracking a creation", lambda: tracked(None, created, "kubectl")),
        ("apply, nothing changes", lambda: apply_object(node, applied, config, **arguments)),
        ("apply, one field changes", lambda: apply_object(node, applied, changed, **arguments)),
    ]
    for title, work in rows:
        cost = measure(work)
        print(f"{title:36} {cost:8.1f} µs   {cost / decode:5.2f} x decode")


if __name__ == "__main__":
    main()
