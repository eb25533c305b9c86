"""Which objects concern which node, kept by events.

A pod bound to a node leads there from all it refers to; a volume leads to its claim, and so to the pods that use it.
Source: k8s.io/kubernetes/plugin/pkg/auth/authorizer/node/graph.go (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Graph", "Thing"]


class Thing(NamedTuple):
    """``plural`` of an object that pods or volumes refer to."""

    plural: str
    namespace: str
    name: str


class _Pod(NamedTuple):
    node: str
    uid: str
    spec: Any
    claims: Any
    refers: frozenset[Thing]


_SECRET_OF_VOLUME = ("cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos", "csi")
_SECRET_OF_CSI = (
    "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef",
)  # fmt: skip


class Graph:
    """Asking costs a few dictionary look-ups; an event costs what changed."""

    def __init__(self) -> None:
        self._pods: dict[tuple[str, str], _Pod] = {}
        self._users: dict[Thing, Counter[str]] = {}
        """Thing -> node -> how many of its pods refer to it."""
        self._claim_of: dict[str, Thing] = {}
        """PersistentVolume -> its claim."""
        self._volumes_of: dict[Thing, set[str]] = {}
        """Secret -> the PersistentVolumes that name it."""
        self._secrets_of: dict[str, frozenset[Thing]] = {}
        self._owned: dict[tuple[str, str, str], str] = {}
        """(plural, namespace, name) of what names a node itself -> that node."""

    # --- events

    def put(self, plural: str, obj: Obj) -> None:
        meta = obj["metadata"]
        namespace, name = meta.get("namespace", ""), meta["name"]
        if plural == "pods":
            self._put_pod((namespace, name), obj)
        elif plural == "persistentvolumes":
            self.remove(plural, "", name)
            self._put_volume(name, obj.get("spec") or {})
        else:
            spec = obj.get("spec") or {}
            self._owned[plural, namespace, name] = spec.get("nodeName") or ""

    def remove(self, plural: str, namespace: str, name: str) -> None:
        if plural == "pods":
            self._forget_pod((namespace, name))
        elif plural == "persistentvolumes":
            self._claim_of.pop(name, None)
            for secret in self._secrets_of.pop(name, ()):
                volumes = self._volumes_of[secret]
                volumes.discard(name)
                if not volumes:
                    del self._volumes_of[secret]
        else:
            self._owned.pop((plural, namespace, name), None)

    def _put_pod(self, key: tuple[str, str], pod: Obj) -> None:
        spec, known = pod["spec"], self._pods.get(key)
        node = spec.get("nodeName") or ""
        claims = (pod.get("status") or {}).get("resourceClaimStatuses")
        uid = pod["metadata"].get("uid", "")
        if known is not None:
            # Most changes of a pod are of its status and lead nowhere new.
            if (known.node, known.uid, known.claims) == (node, uid, claims) and known.spec == spec:
                return
            self._forget_pod(key)
        if not node:
            return
        mirror = "kubernetes.io/config.mirror" in (pod["metadata"].get("annotations") or {})
        # A mirror pod is what its node says: it must not lead to anything.
        refers = frozenset() if mirror else frozenset(_references(key[0], key[1], pod))
        self._pods[key] = _Pod(node, uid, spec, claims, refers)
        for thing in refers:
            self._users.setdefault(thing, Counter())[node] += 1

    def _forget_pod(self, key: tuple[str, str]) -> None:
        known = self._pods.pop(key, None)
        if known is None:
            return
        for thing in known.refers:
            users = self._users[thing]
            users[known.node] -= 1
            if not users[known.node]:
                del users[known.node]
            if not users:
                del self._users[thing]

    def _put_volume(self, name: str, spec: dict[str, Any]) -> None:
        claim = spec.get("claimRef")
        if not claim:
            return
        self._claim_of[name] = Thing(
            "persistentvolumeclaims", claim.get("namespace", ""), claim.get("name", "")
        )
        secrets = frozenset(_volume_secrets(spec, claim.get("namespace", "")))
        self._secrets_of[name] = secrets
        for secret in secrets:
            self._volumes_of.setdefault(secret, set()).add(name)

    # --- questions

    def concerns(self, node: str, plural: str, namespace: str, name: str) -> bool:
        if plural == "pods":
            pod = self._pods.get((namespace, name))
            return pod is not None and pod.node == node
        if plural == "persistentvolumes":
            claim = self._claim_of.get(name)
            return claim is not None and self._used(node, claim)
        if plural in ("volumeattachments", "resourceslices", "podcertificaterequests"):
            return self._owned.get((plural, namespace, name)) == node
        thing = Thing(plural, namespace, name)
        if self._used(node, thing):
            return True
        return any(self._used(node, self._claim_of[volume]) for volume in self._volumes_of.get(thing, ()))

    def _used(self, node: str, thing: Thing) -> bool:
        users = self._users.get(thing)
        return users is not None and node in users


def _references(namespace: str, pod_name: str, pod: Obj) -> Iterator[Thing]:
    spec = pod["spec"]
    if account := spec.get("serviceAccountName"):
        yield Thing("serviceaccounts", namespace, account)
    for secret in spec.get("imagePullSecrets") or ():
        yield Thing("secrets", namespace, secret.get("name", ""))
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for source in container.get("envFrom") or ():
                yield from _named(namespace, source.get("secretRef"), source.get("configMapRef"))
            for variable in container.get("env") or ():
                value = variable.get("valueFrom") or {}
                yield from _named(namespace, value.get("secretKeyRef"), value.get("configMapKeyRef"))
    for volume in spec.get("volumes") or ():
        yield from _of_volume(namespace, pod_name, volume)
    generated = {
        told["name"]: told.get("resourceClaimName")
        for told in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    }
    for claim in spec.get("resourceClaims") or ():
        if found := claim.get("resourceClaimName") or generated.get(claim["name"]):
            yield Thing("resourceclaims", namespace, found)


def _named(
    namespace: str, secret: dict[str, Any] | None, config_map: dict[str, Any] | None
) -> Iterator[Thing]:
    if secret and secret.get("name"):
        yield Thing("secrets", namespace, secret["name"])
    if config_map and config_map.get("name"):
        yield Thing("configmaps", namespace, config_map["name"])


def _of_volume(namespace: str, pod_name: str, volume: dict[str, Any]) -> Iterator[Thing]:
    sources = (volume.get("projected") or {}).get("sources") or ()
    for source in sources:
        yield from _named(namespace, source.get("secret"), source.get("configMap"))
    if secret := (volume.get("secret") or {}).get("secretName"):
        yield Thing("secrets", namespace, secret)
    yield from _named(namespace, None, volume.get("configMap"))
    if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
        yield Thing("persistentvolumeclaims", namespace, claim)
    if volume.get("ephemeral") is not None:
        yield Thing("persistentvolumeclaims", namespace, f"{pod_name}-{volume['name']}")
    if secret := (volume.get("azureFile") or {}).get("secretName"):
        yield Thing("secrets", namespace, secret)
    for kind in _SECRET_OF_VOLUME:
        told = volume.get(kind) or {}
        ref = told.get("secretRef") or told.get("nodePublishSecretRef") or {}
        if ref.get("name"):
            yield Thing("secrets", namespace, ref["name"])


def _volume_secrets(spec: dict[str, Any], claim_namespace: str) -> Iterator[Thing]:
    azure = spec.get("azureFile") or {}
    if azure.get("secretName"):
        yield Thing("secrets", azure.get("secretNamespace") or claim_namespace, azure["secretName"])
    for kind in _SECRET_OF_VOLUME:
        told = spec.get(kind) or {}
        for key in ("secretRef", *_SECRET_OF_CSI):
            ref = told.get(key) or {}
            if ref.get("name"):
                yield Thing("secrets", ref.get("namespace") or claim_namespace, ref["name"])
