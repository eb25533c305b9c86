"""A pod's volumes on the host's file system."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.errors import ApiError
from kubernel.objects import meta, times
from kubernel_plugins.node.kubelet.atomic import write_payload
from kubernel_plugins.node.kubelet.environment import ConfigProblem, expand, field_value, resource_value

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj
    from kubernel_plugins.node.kubelet.environment import Lookup

__all__ = ["MountProblem", "Volumes", "references"]

Payload = dict[str, tuple[bytes, int]]

_HOST_CHECKS: Mapping[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "is not a directory"),
    "File": (stat.S_ISREG, "is not a file"),
    "Socket": (stat.S_ISSOCK, "is not a socket"),
    "CharDevice": (stat.S_ISCHR, "is not a character device"),
    "BlockDevice": (stat.S_ISBLK, "is not a block device"),
}


_VOLUME_KINDS = frozenset(("cephfs", "csi", "fc", "flexVolume", "iscsi", "nfs", "rbd"))


class MountProblem(Exception):
    """A volume cannot be prepared: the event ``FailedMount``."""


def references(pod: Obj) -> set[tuple[str, str]]:
    """(``configmaps`` | ``secrets``, name) of everything a pod reads, volumes and environment."""
    found: set[tuple[str, str]] = set()
    spec = pod.get("spec", {})
    for volume in spec.get("volumes") or ():
        for source in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
            if "configMap" in source:
                found.add(("configmaps", source["configMap"].get("name", "")))
            if "secret" in source:
                found.add(("secrets", source["secret"].get("secretName") or source["secret"].get("name", "")))
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        for entry in [
            *(container.get("envFrom") or ()),
            *(e.get("valueFrom") or {} for e in container.get("env") or ()),
        ]:
            for key in ("configMapRef", "configMapKeyRef"):
                if key in entry:
                    found.add(("configmaps", entry[key].get("name", "")))
            for key in ("secretRef", "secretKeyRef"):
                if key in entry:
                    found.add(("secrets", entry[key].get("name", "")))
    return found


@dataclass(slots=True)
class _Token:
    value: str
    expires: float
    refresh: float


@dataclass(slots=True)
class Volumes:
    """The volumes of one pod. ``update`` makes or refreshes them; it is cheap when nothing changed."""

    client: Client
    clock: Clock
    directory: Path
    lookup: Lookup
    _claimed: dict[str, str] = field(default_factory=dict)
    """By volume, the directory that a claim stands for."""
    _tokens: dict[tuple[str, str, int], _Token] = field(default_factory=dict)
    _seen: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        return self.directory / name

    async def update(
        self, pod: Obj, addresses: Mapping[str, str], allocatable: Mapping[str, str]
    ) -> float | None:
        """Seconds until a token wants to be renewed, None when none does. MountProblem names the volume."""
        for volume in pod.get("spec", {}).get("volumes") or ():
            try:
                await self._volume(pod, volume, addresses, allocatable)
            except (ConfigProblem, ApiError) as error:
                raise MountProblem(
                    f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                ) from error
            except OSError as error:
                why = f"{error.strerror}: {error.filename}"
                raise MountProblem(
                    f'MountVolume.SetUp failed for volume "{volume["name"]}" : {why}'
                ) from error
        now = self.clock.time()
        return min((max(token.refresh - now, 1.0) for token in self._tokens.values()), default=None)

    async def _volume(
        self,
        pod: Obj,
        volume: Mapping[str, Any],
        addresses: Mapping[str, str],
        allocatable: Mapping[str, str],
    ) -> None:
        name = volume["name"]
        path = self.path(name)
        kind = next((key for key in volume if key != "name"), "emptyDir")
        source = volume.get(kind) or {}
        if kind == "emptyDir":
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(0o777)
            return
        if kind == "hostPath":
            _check_host_path(source)
            return
        if kind in ("persistentVolumeClaim", "ephemeral"):
            if name not in self._claimed:
                self._claimed[name] = await self._claim(pod, name, source, own=kind == "ephemeral")
            return
        mode = int(source.get("defaultMode", 0o644))
        payload: Payload = {}
        if kind == "projected":
            for part in source.get("sources") or ():
                inner = next(iter(part))
                payload |= await self._payload(pod, inner, part[inner] or {}, mode, addresses, allocatable)
        elif kind in ("configMap", "secret", "downwardAPI"):
            payload = await self._payload(pod, kind, source, mode, addresses, allocatable)
        else:
            raise ConfigProblem(f'volume type "{kind}" is not supported by this node')
        if self._seen.get(name) != payload:
            write_payload(path, payload)
            self._seen[name] = payload

    async def _claim(self, pod: Obj, volume: str, source: Mapping[str, Any], *, own: bool) -> str:
        """The directory behind a claim; ``own``: it was made for this pod."""
        metadata = pod["metadata"]
        namespace, name = metadata.get("namespace", ""), source.get("claimName", "")
        if own:
            name = f"{metadata['name']}-{volume}"
        claim = await self.client.get("persistentvolumeclaims", name, namespace)
        if own and (meta.controller_of(claim) or {}).get("uid") != metadata["uid"]:
            raise ConfigProblem(
                f"PVC {namespace}/{name} was not created for pod {namespace}/{metadata['name']} (pod is not owner)"
            )
        bound = claim["spec"].get("volumeName", "")
        if (claim.get("status") or {}).get("phase") != "Bound" or not bound:
            raise ConfigProblem(f"PVC {namespace}/{name} is not bound")
        found = await self.client.get("persistentvolumes", bound)
        spec = found["spec"]
        if (spec.get("claimRef") or {}).get("uid") != meta.uid(claim):
            raise ConfigProblem(f"PersistentVolume {bound} is not bound to PVC {namespace}/{name}")
        if spec.get("volumeMode") == "Block":
            raise ConfigProblem("block volumes are not supported by this node")
        if host := spec.get("hostPath"):
            _check_host_path(host)
            return str(host["path"])
        if local := spec.get("local"):
            _check_host_path({"path": local["path"], "type": "Directory"})
            return str(local["path"])
        kinds = ", ".join(sorted(spec.keys() & _VOLUME_KINDS)) or "of this kind"
        raise ConfigProblem(f'volume "{bound}" ({kinds}) is not supported by this node')

    async def _payload(
        self,
        pod: Obj,
        kind: str,
        source: Mapping[str, Any],
        mode: int,
        addresses: Mapping[str, str],
        allocatable: Mapping[str, str],
    ) -> Payload:
        namespace = pod["metadata"].get("namespace", "")
        if kind in ("configMap", "secret"):
            resource = "configmaps" if kind == "configMap" else "secrets"
            name = source.get("secretName") or source.get("name", "")
            found = self.lookup(resource, namespace, name)
            if found is None and not source.get("optional"):
                raise ConfigProblem(f'{kind.lower()} "{name}" not found')
            return _items(_contents(found, resource), source, mode, f"{namespace}/{name}")
        if kind == "downwardAPI":
            return {
                item["path"]: (_downward(pod, item, addresses, allocatable), int(item.get("mode", mode)))
                for item in source.get("items") or ()
            }
        if kind == "serviceAccountToken":
            token = await self._token(pod, source)
            # A token is for the container's user alone.
            return {source["path"]: (token.encode(), 0o600)}
        raise ConfigProblem(f'projected source "{kind}" is not supported by this node')

    async def _token(self, pod: Obj, source: Mapping[str, Any]) -> str:
        seconds = int(source.get("expirationSeconds", 3600))
        key = (source["path"], source.get("audience", ""), seconds)
        now = self.clock.time()
        known = self._tokens.get(key)
        if known is not None and now < known.refresh:
            return known.value
        metadata = pod["metadata"]
        request: Obj = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [source["audience"]] if source.get("audience") else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        }
        account = pod["spec"].get("serviceAccountName") or "default"
        try:
            answer = await self.client.create(
                "serviceaccounts", request, metadata.get("namespace", ""), subresource="token", name=account
            )
        except ApiError:
            if known is not None and now < known.expires:
                return known.value
            raise
        status = answer["status"]
        expires = times.parse(status["expirationTimestamp"])
        # As kubelet's token manager: at 80 % of the lifetime, or after a day.
        refresh = now + min((expires - now) * 0.8, 86400.0)
        self._tokens[key] = _Token(status["token"], expires, refresh)
        return str(status["token"])

    def mounts(
        self, pod: Obj, container: Mapping[str, Any], env: Mapping[str, str]
    ) -> tuple[tuple[str, str, bool], ...]:
        """(host path, path in the container, read-only) for each volumeMount."""
        volumes = {volume["name"]: volume for volume in pod.get("spec", {}).get("volumes") or ()}
        result = []
        for mount in container.get("volumeMounts") or ():
            volume = volumes.get(mount["name"])
            if volume is None:
                raise ConfigProblem(
                    f'volume "{mount["name"]}" of container "{container["name"]}" is not defined'
                )
            host = volume.get("hostPath")
            source = host["path"] if host else str(self._claimed.get(mount["name"], self.path(mount["name"])))
            claim = volume.get("persistentVolumeClaim") or {}
            below = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
            if below:
                if os.path.isabs(below) or ".." in below.split("/"):
                    raise ConfigProblem(f'subPath "{below}" must be a relative path without ".."')
                source = _below(source, below)
            result.append((source, mount["mountPath"], bool(mount.get("readOnly") or claim.get("readOnly"))))
        return tuple(result)


def _below(volume: str, sub_path: str) -> str:
    """The real path of what is below a volume. A link that a container has put there must not lead out of it."""
    root = os.path.realpath(volume)
    source = os.path.realpath(os.path.join(root, sub_path))
    if source != root and not source.startswith(os.path.join(root, "")):
        raise ConfigProblem(f'subPath "{sub_path}" leads out of the volume')
    if not os.path.lexists(source):
        os.makedirs(source, mode=0o750)
    return source


def _check_host_path(source: Mapping[str, Any]) -> None:
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        kind = "Directory"
    elif kind == "FileOrCreate":
        path.touch(mode=0o644, exist_ok=True)
        kind = "File"
    if not kind:
        return
    check, problem = _HOST_CHECKS[kind]
    if not path.exists() or not check(path.stat().st_mode):
        raise ConfigProblem(f"hostPath type check failed: {path} {problem}")


def _contents(found: Obj | None, resource: str) -> dict[str, bytes]:
    if found is None:
        return {}
    if resource == "secrets":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _items(data: Mapping[str, bytes], source: Mapping[str, Any], mode: int, what: str) -> Payload:
    items = source.get("items")
    if not items:
        return {key: (value, mode) for key, value in data.items()}
    payload: Payload = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise ConfigProblem(f"references non-existent config key: {item['key']} in {what}")
        payload[item["path"]] = (data[item["key"]], int(item.get("mode", mode)))
    return payload


def _downward(
    pod: Obj, item: Mapping[str, Any], addresses: Mapping[str, str], allocatable: Mapping[str, str]
) -> bytes:
    if ref := item.get("fieldRef"):
        return field_value(pod, ref["fieldPath"], addresses).encode()
    ref = item["resourceFieldRef"]
    container = next((c for c in pod["spec"]["containers"] if c["name"] == ref.get("containerName")), None)
    if container is None:
        raise ConfigProblem(f'container "{ref.get("containerName", "")}" not found')
    return resource_value(container, ref, allocatable).encode()
