"""What creators of pods, and of what has a template of pods, are warned of.

Source: k8s.io/kubernetes/pkg/api/pod/warnings.go, pkg/api/node/util.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubernel.objects import quantity
from kubernel.registry.causes import show
from kubernel_plugins.api.builtin.strategies.addresses import warn_of_ip

__all__ = [
    "APP_ARMOR",
    "DEPRECATED_LABELS",
    "app_armor_field",
    "app_armor_warning",
    "claim_warnings",
    "pod_warnings",
    "selector_term_warnings",
]

Obj = Mapping[str, Any]

DEPRECATED_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
"""Of nodes."""
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_GONE = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_VOLUMES = {
    "photonPersistentDisk": ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    "gitRepo": ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    "scaleIO": ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    "flocker": ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    "storageos": ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    "quobyte": ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    "glusterfs": ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    "cephfs": ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    "rbd": ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
}
"""Kinds of volumes: as upstream's path calls them, and what is said."""
_NO_POD = "a null labelSelector results in matching no pod"
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def pod_warnings(meta: Obj, spec: Obj, path: str = "") -> list[str]:
    """Of a pod, or of the template at ``path``."""
    at = f"{path}." if path else ""
    found = list(_labels(spec, at))
    annotations: Obj = meta.get("annotations") or {}
    for key, text in _ANNOTATIONS.items():
        if key in annotations:
            found.append(f"{at}metadata.annotations[{key}]: {text}")
    volumes = spec.get("volumes") or ()
    for index, volume in enumerate(volumes):
        where = f"{at}spec.volumes[{index}]"
        for kind in volume:
            if kind in _VOLUMES:
                called, text = _VOLUMES[kind]
                found.append(f"{where}.{called}: {text}")
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template:
            found += claim_warnings(template.get("spec") or {}, f"{where}.ephemeral.volumeClaimTemplate.spec")
    if volumes:
        found += _overlaps(volumes)
    found += _repeated(spec, at)
    found += _fractions(spec.get("overhead") or {}, f"{at}spec.overhead")
    security: Obj = spec.get("securityContext") or {}
    if _SECCOMP_POD in annotations and not security.get("seccompProfile"):
        found.append(f"{at}metadata.annotations[{_SECCOMP_POD}]: {_SECCOMP_GONE}")
    containers = list(_containers(spec, at))
    for where, container in containers:
        found += _container(where, container, annotations, at, path, security.get("appArmorProfile"))
    found += _ports(containers)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        found.append(
            f"{at}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be "
            "treated as 1"
        )
    found += _affinity(spec.get("affinity") or {}, f"{at}spec.affinity")
    for index, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        found += warn_of_ip(server, f"{at}spec.dnsConfig.nameservers[{index}]")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        found += warn_of_ip(alias.get("ip") or "", f"{at}spec.hostAliases[{index}].ip")
    return found


def _labels(spec: Obj, at: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if key in DEPRECATED_LABELS:
            yield f"{at}spec.nodeSelector[{key}]: {DEPRECATED_LABELS[key]}"
    node: Obj = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    if node:
        where = f"{at}spec.affinity.nodeAffinity"
        required = node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
            path = f"{where}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{index}]"
            yield from selector_term_warnings(term, path)
        for index, term in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            path = f"{where}.preferredDuringSchedulingIgnoredDuringExecution[{index}].preference"
            yield from selector_term_warnings(term.get("preference") or {}, path)
    for index, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        path, key = f"{at}spec.topologySpreadConstraints[{index}]", spread.get("topologyKey", "")
        if key in DEPRECATED_LABELS:
            yield f"{path}.topologyKey: {key} is {DEPRECATED_LABELS[key]}"
        if spread.get("labelSelector") is None:
            yield f"{path}.labelSelector: {_NO_POD}"


def selector_term_warnings(term: Obj, path: str) -> Iterator[str]:
    """Of a term of a node selector."""
    for index, one in enumerate(term.get("matchExpressions") or ()):
        key = one.get("key", "")
        if key in DEPRECATED_LABELS:
            yield f"{path}.matchExpressions[{index}].key: {key} is {DEPRECATED_LABELS[key]}"


def _repeated(spec: Obj, at: str) -> Iterator[str]:
    aliases = spec.get("hostAliases") or ()
    seen: set[str] = set()
    for index, alias in enumerate(aliases):
        ip = alias.get("ip") or ""
        if ip in seen:
            yield f"{at}spec.hostAliases[{index}].ip: duplicate ip {show(ip)}"
        seen.add(ip)
    secrets = [one.get("name") or "" for one in spec.get("imagePullSecrets") or ()]
    seen = set()
    for index, name in enumerate(secrets):
        if name in seen:
            yield f"{at}spec.imagePullSecrets[{index}].name: duplicate name {show(name)}"
        seen.add(name)
    for index, name in enumerate(secrets):
        if not name:
            yield f'{at}spec.imagePullSecrets[{index}].name: invalid empty name ""'


def fractional(value: Any) -> bool:
    """Whether a quantity is no whole number, thousandths being the least that is looked at."""
    return bool(quantity.to_int_milli(value) % 1000)


def _fractions(
    amounts: Obj, path: str, names: Iterable[str] = ("memory", "ephemeral-storage")
) -> Iterator[str]:
    for name in names:
        if name in amounts and fractional(amounts[name]):
            yield _fraction(f"{path}[{name}]", amounts[name])


def _fraction(path: str, value: Any) -> str:
    told = show(quantity.canonical(value))
    return f"{path}: fractional byte value {told} is invalid, must be an integer"


def claim_warnings(spec: Obj, path: str) -> list[str]:
    """Of the spec of a PersistentVolumeClaim."""
    resources: Obj = spec.get("resources") or {}
    return [
        _fraction(f"{path}.resources.{kind}[storage]", amounts["storage"])
        for kind in ("requests", "limits")
        if "storage" in (amounts := resources.get(kind) or {}) and fractional(amounts["storage"])
    ]


def _containers(spec: Obj, at: str) -> Iterator[tuple[str, Obj]]:
    for kind in _CONTAINERS:
        for index, container in enumerate(spec.get(kind) or ()):
            yield f"{at}spec.{kind}[{index}]", container


def _container(
    where: str, container: Obj, annotations: Obj, at: str, template: str, profile: Any
) -> Iterator[str]:
    security: Obj = container.get("securityContext") or {}
    name = container.get("name", "")
    if annotations:
        key = f"{_SECCOMP_CONTAINER}{name}"
        if key in annotations and not security.get("seccompProfile"):
            yield f"{at}metadata.annotations[{key}]: {_SECCOMP_GONE}"
        key = f"{APP_ARMOR}{name}"
        # That of a pod itself becomes a field before anybody is warned.
        if template and key in annotations and not security.get("appArmorProfile"):
            told = app_armor_field(annotations[key])
            if profile is None or told != profile:
                yield app_armor_warning(f"{at}metadata.annotations[{key}]")
    resources: Obj = container.get("resources") or {}
    if resources:
        for amount in ("memory", "ephemeral-storage"):
            for kind in ("limits", "requests"):
                yield from _fractions(resources.get(kind) or {}, f"{where}.resources.{kind}", (amount,))
    env = container.get("env") or ()
    if len(env) > 1:
        seen: set[str] = set()
        for index, one in enumerate(env):
            variable, value = one.get("name", ""), one.get("value") or ""
            if variable in seen:
                reference = f"$({variable})"
                if one.get("valueFrom") is not None or value == reference or reference not in value:
                    yield (
                        f"{where}.env[{index}]: hides previous definition of {show(variable)}, which may be dropped "
                        "when using apply"
                    )
            seen.add(variable)


def app_armor_warning(path: str) -> str:
    return f'{path}: deprecated since v1.30; use the "appArmorProfile" field instead'


def app_armor_field(annotation: str) -> dict[str, str] | None:
    """The profile that an annotation is about, as a field; None for one that says nothing."""
    if annotation == "unconfined":
        return {"type": "Unconfined"}
    if annotation == "runtime/default":
        return {"type": "RuntimeDefault"}
    if annotation.startswith("localhost/") and (name := annotation.removeprefix("localhost/")):
        return {"type": "Localhost", "localhostProfile": name}
    return None


def _ports(containers: list[tuple[str, Obj]]) -> list[str]:
    listed = [
        (f"{where}.ports[{index}]", port)
        for where, container in containers
        for index, port in enumerate(container.get("ports") or ())
    ]
    found: list[str] = []
    known: dict[tuple[int, str], list[tuple[str, str, int]]] = {}
    for path, port in listed:
        ip, host = port.get("hostIP") or "", port.get("hostPort") or 0
        number, protocol = port.get("containerPort") or 0, port.get("protocol") or ""
        if ip and not host:
            name = port.get("name") or ""
            shown = f"{{Name:{name} HostPort:{host} ContainerPort:{number} Protocol:{protocol} HostIP:{ip}}}"
            found.append(f"{path}: hostIP set without hostPort: {shown}")
        others = known.setdefault((number, protocol), [])
        for other, other_ip, other_host in others:
            if (ip, host) == (other_ip, other_host):
                found.append(f"{path}: duplicate port definition with {other}")
            elif not host or not other_host:
                found.append(f"{path}: overlapping port definition with {other}")
            elif host == other_host and bool(ip) != bool(other_ip):
                found.append(f"{path}: dangerously ambiguous port definition with {other}")
        others.append((path, ip, host))
    names: dict[str, str] = {}
    for path, port in listed:
        name = port.get("name") or ""
        if name and name in names:
            other = names[name]
            found.append(
                f"{path}: duplicate port name {show(name)} with {other}, services and probes that select ports by "
                f"name will use {other}"
            )
        elif name:
            names[name] = path
    return found


def _affinity(affinity: Obj, path: str) -> Iterator[str]:
    for kind in ("podAffinity", "podAntiAffinity"):
        one: Obj = affinity.get(kind) or {}
        for when, within in (
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            ("preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm"),
        ):
            for index, item in enumerate(one.get(when) or ()):
                term = (item.get(within) or {}) if within else item
                if term.get("labelSelector") is None:
                    below = f".{within}" if within else ""
                    yield f"{path}.{kind}.{when}[{index}]{below}.labelSelector: {_NO_POD}"


def _overlaps(volumes: Iterable[Obj]) -> list[str]:
    """Files of one volume that are in each other's way."""
    found: list[str] = []
    for volume in volumes:
        name = show(volume.get("name", ""))
        for kind, called in (
            ("configMap", "ConfigMap"),
            ("secret", "Secret"),
            ("downwardAPI", "DownwardAPI"),
        ):
            source: Obj = volume.get(kind) or {}
            if source.get("items"):
                told = source.get("secretName" if kind == "secret" else "name") or ""
                about = called if kind == "downwardAPI" else f"{called} {show(told)}"
                placed = [(item.get("path") or "", "") for item in source["items"]]
                found += [f"volume {name} ({about}): overlapping paths: {text}" for text in _meeting(placed)]
        projected: Obj | None = volume.get("projected")
        if projected is not None:
            placed = []
            for source in projected.get("sources") or ():
                if not source:
                    found.append(f"volume {name} (Projected) has no sources provided")
                placed += _projected(source)
            found += [f"volume {name} (Projected): overlapping paths: {text}" for text in _meeting(placed)]
    return found


def _projected(source: Obj) -> list[tuple[str, str]]:
    for kind, called in (("configMap", "ConfigMap"), ("secret", "Secret"), ("downwardAPI", "DownwardAPI")):
        one: Obj = source.get(kind) or {}
        if one.get("items"):
            about = called if kind == "downwardAPI" else f"{called} {show(one.get('name') or '')}"
            return [(item.get("path") or "", about) for item in one["items"]]
    if token := source.get("serviceAccountToken"):
        return [(token.get("path") or "", "ServiceAccountToken")]
    if bundle := source.get("clusterTrustBundle"):
        named = bundle.get("name")
        about = show(bundle.get("signerName") or "" if named is None else named)
        return [(bundle.get("path") or "", f"ClusterTrustBundle {about}")]
    if certificate := source.get("podCertificate"):
        return [
            (certificate[key], f"PodCertificate {called}")
            for key, called in (
                ("certificateChainPath", "chain"),
                ("keyPath", "key"),
                ("credentialBundlePath", "credential bundle"),
            )
            if certificate.get(key)
        ]
    return []


def _meeting(placed: Iterable[tuple[str, str]]) -> Iterator[str]:
    before: list[tuple[str, str]] = []
    for path, source in placed:
        mine = path.rstrip("/")
        for other, whence in before:
            if mine and other and (f"{other}/".startswith(f"{mine}/") or f"{mine}/".startswith(f"{other}/")):
                yield f"{_shown(mine, source)} with {_shown(other, whence)}"
        before.append((mine, source))


def _shown(path: str, source: str) -> str:
    return f"{show(path)} ({source})" if source else show(path)
