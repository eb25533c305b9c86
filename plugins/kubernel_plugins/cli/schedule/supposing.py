"""``kubernel schedule what-if``: change a fork, let time pass in it, tell what became of the pods."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.config import parse_duration
from kubernel.errors import ApiError, KubernelError, TooManyRequests
from kubernel.objects import meta
from kubernel_plugins.cli.schedule.fork import forked
from kubernel_plugins.cli.schedule.nodes import parse_node
from kubernel_plugins.cli.schedule.outcome import Outcome

if TYPE_CHECKING:
    import argparse

    from kubernel.config import Configuration
    from kubernel.store.records import Obj
    from kubernel.testing import Cluster

__all__ = ["what_if"]

_UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_STEP = 5.0
"""Seconds between two looks; enough for an eviction's replacement to become ready."""
_QUIET = 60.0
"""Seconds without any pod moving after which nothing more is expected: the longest backoff is 10."""


def what_if(config: Configuration, contents: Sequence[Obj], now: float, args: argparse.Namespace) -> int:
    try:
        period = parse_duration(args.period)
    except ValueError:
        raise KubernelError(f'--for: "{args.period}" is not a time such as 90s, 10m or 1h30m') from None
    nodes = [parse_node(text) for text in args.add_node]
    scales = [_parse_scale(text) for text in args.scale]
    with forked(config, contents, now=now) as fork:
        supposed = _Supposed(fork, args.namespace)
        for name in args.uncordon:
            supposed.cordon(name, False)
        for name in (*args.cordon, *args.drain):
            supposed.cordon(name, True)
        for node in nodes:
            fork.create(node)
        for file in args.apply:
            _readable(file)
            fork.apply(Path(file), args.namespace)
        for resource, name, replicas in scales:
            fork.patch(resource, name, {"spec": {"replicas": replicas}}, args.namespace, subresource="scale")
        supposed.let_pass(args.drain, period)
        outcome = Outcome(contents, fork, supposed.refused)
        if args.output == "json":
            sys.stdout.write(json.dumps(outcome.as_dict(), indent=2) + "\n")
        else:
            outcome.write(sys.stdout)
        return 1 if outcome.pending else 0


class _Supposed:
    def __init__(self, fork: Cluster, namespace: str) -> None:
        self._fork = fork
        self._namespace = namespace
        self.refused: dict[tuple[str, str], str] = {}
        """Pods that may not be evicted, and why."""

    def cordon(self, name: str, wanted: bool) -> None:
        """With the taint that the node life cycle controller, which the fork does without, gives and takes."""
        taints = meta.get(self._fork.get("nodes", name), "spec", "taints", default=[])
        others = [each for each in taints if each["key"] != _UNSCHEDULABLE["key"]]
        found = [*others, _UNSCHEDULABLE] if wanted else others
        self._fork.patch("nodes", name, {"spec": {"unschedulable": wanted or None, "taints": found or None}})

    def let_pass(self, drained: Sequence[str], period: float) -> None:
        """Until nothing moves any more, at most ``period`` seconds of the fork's time."""
        begun = moved = self._fork.clock.time()
        before: Any = None
        while True:
            self._evict(drained)
            self._provide()
            self._fork.settle()
            now, placed = self._fork.clock.time(), self._placed()
            if placed != before:
                before, moved = placed, now
            if now - begun >= period or now - moved >= _QUIET:
                return
            self._fork.clock.advance(min(_STEP, period - (now - begun)))

    def _provide(self) -> None:
        """In place of those who make volumes: one for each claim that asks for one."""
        for claim in self._fork.list("persistentvolumeclaims"):
            if claim["spec"].get("volumeName") or _PROVISIONER not in meta.annotations(claim):
                continue
            name = f"pvc-{meta.uid(claim)}"
            if self._fork.find("persistentvolumes", name) is None:
                self._fork.create(_volume(name, claim))

    def _placed(self) -> dict[str, str]:
        return {meta.uid(pod): pod["spec"].get("nodeName") or "" for pod in self._fork.list("pods")}

    def _evict(self, drained: Sequence[str]) -> None:
        """As ``kubectl drain`` does: all but pods of DaemonSets and those that a kubelet reads from files."""
        self.refused.clear()
        for node in drained:
            for pod in self._fork.list("pods", fields=f"spec.nodeName={node}"):
                if not (meta.is_deleting(pod) or _stays(pod)):
                    self._evict_one(pod)

    def _evict_one(self, pod: Obj) -> None:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        client = self._fork.client()
        try:
            self._fork.run(client.create("pods", eviction, namespace, subresource="eviction", name=name))
        except TooManyRequests as error:
            self.refused[namespace, name] = error.message
        except ApiError as error:
            raise KubernelError(f"evicting {namespace}/{name}: {error.message}") from error


def _volume(name: str, claim: Obj) -> Obj:
    found, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": found["name"],
                "namespace": found["namespace"],
                "uid": found["uid"],
            },
            "hostPath": {"path": "/supposed"},
            "storageClassName": spec.get("storageClassName", ""),
            "volumeMode": spec.get("volumeMode", "Filesystem"),
        },
    }


def _stays(pod: Obj) -> bool:
    if "kubernetes.io/config.mirror" in (pod["metadata"].get("annotations") or {}):
        return True
    owner = meta.controller_of(pod)
    return owner is not None and owner["kind"] == "DaemonSet"


def _parse_scale(text: str) -> tuple[str, str, int]:
    what, _, replicas = text.rpartition("=")
    resource, _, name = what.partition("/")
    if not (resource and name and replicas.isascii() and replicas.isdigit()):
        raise KubernelError(f'--scale: "{text}" is not KIND/NAME=REPLICAS, such as deploy/web=40')
    return resource, name, int(replicas)


def _readable(file: str) -> None:
    if not Path(file).is_file():
        raise KubernelError(f"--apply: there is no file {file}")
