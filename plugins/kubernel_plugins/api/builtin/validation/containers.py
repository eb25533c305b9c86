"""Containers, init containers (sidecars among them) and ephemeral ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.downward import ENV_FIELDS, field_reference, resource_reference
from kubernel_plugins.api.builtin.validation.probes import lifecycle, probes
from kubernel_plugins.api.builtin.validation.resources import container_requirements
from kubernel_plugins.api.builtin.validation.security import security_context
from kubernel_plugins.api.builtin.validation.values import (
    PORT_RANGE,
    Found,
    Obj,
    named,
    no_back_steps,
    one_of,
    relative_path,
)

__all__ = ["Around", "containers", "ephemeral_containers", "init_containers", "untrimmed_images"]

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_READ_ONLY = ("Disabled", "Enabled", "IfPossible")
_RESTARTS = ("Always", "Never", "OnFailure")
_RESTART_ACTIONS = ("Restart", "RestartAllContainers")
_EXIT_CODE_OPERATORS = ("In", "NotIn")
_MAX_RESTART_RULES = 20
_MAX_EXIT_CODES = 255
_NOT_EPHEMERAL = (
    "ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy",
    "restartPolicy", "restartPolicyRules",
)  # fmt: skip
_STRUCTS = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
_ONLY_SIDECARS = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")


@dataclass(frozen=True, slots=True)
class Around:
    """What a container's rules need to know of its pod."""

    spec: Obj
    volumes: Mapping[str, Obj]
    claims: Collection[str]
    grace: int | None
    host_users: bool
    variable_files: list[tuple[str, str]]
    """Filled on the way: (volume, path of its name) of the files that variables are read from."""


def containers(spec: Obj, path: str, around: Around, found: Found) -> None:
    listed = spec.get("containers")
    where = f"{path}.containers"
    if not listed:
        found.append(causes.required(where))
        return
    taken: set[str] = set()
    for index, container in enumerate(listed):
        at = f"{where}[{index}]"
        _common(container, at, around, found)
        name = container.get("name") or ""
        if name in taken:
            found.append(causes.duplicate(f"{at}.name", name))
        taken.add(name)
        if container.get("lifecycle") is not None:
            lifecycle(container["lifecycle"], f"{at}.lifecycle", around.grace, found)
        probes(container, at, around.grace, found)
        _restart_policy(container, at, found)
    _host_ports(listed, where, found)


def init_containers(spec: Obj, path: str, around: Around, found: Found) -> None:
    where = f"{path}.initContainers"
    taken = {container.get("name") or "" for container in spec.get("containers") or ()}
    for index, container in enumerate(spec.get("initContainers") or ()):
        at = f"{where}[{index}]"
        _common(container, at, around, found)
        _restart_policy(container, at, found)
        name = container.get("name") or ""
        if name in taken:
            found.append(causes.duplicate(f"{at}.name", name))
        elif name:
            taken.add(name)
        # Upstream counts ports of one init container from the list's beginning.
        _host_ports([container], where, found)
        if container.get("restartPolicy") == "Always":
            if container.get("lifecycle") is not None:
                lifecycle(container["lifecycle"], f"{at}.lifecycle", around.grace, found)
            probes(container, at, around.grace, found)
            continue
        told = "may not be set for init containers without restartPolicy=Always"
        found += [
            causes.forbidden(f"{at}.{key}", told) for key in _ONLY_SIDECARS if container.get(key) is not None
        ]
        for number, policy in enumerate(container.get("resizePolicy") or ()):
            if policy.get("restartPolicy") == "RestartContainer":
                found.append(
                    causes.invalid(
                        f"{at}.resizePolicy[{number}].restartPolicy",
                        "RestartContainer",
                        "must not be set to 'RestartContainer' for non-sidecar initContainers",
                    )
                )


def ephemeral_containers(spec: Obj, path: str, around: Around, found: Found) -> None:
    others = {
        container.get("name") or ""
        for kind in ("containers", "initContainers")
        for container in spec.get(kind) or ()
    }
    taken = set(others)
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        at = f"{path}.ephemeralContainers[{index}]"
        _common(container, at, around, found)
        _untrimmed_image(container, at, found)
        name = container.get("name") or ""
        if name in taken:
            found.append(causes.duplicate(f"{at}.name", name))
        taken.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            found.append(causes.not_found(f"{at}.targetContainerName", target))
        told = "cannot be set for an Ephemeral Container"
        found += [
            causes.forbidden(f"{at}.{key}", told)
            for key in _NOT_EPHEMERAL
            if container.get(key) or (key in _STRUCTS and container.get(key) is not None)
        ]
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            found += [
                causes.forbidden(f"{at}.volumeMounts[{number}].{key}", told)
                for key in ("subPath", "subPathExpr")
                if mount.get(key)
            ]


def untrimmed_images(spec: Obj, path: str, found: Found) -> None:
    """For pods only: templates may hold placeholders such as a single blank."""
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            _untrimmed_image(container, f"{path}.{kind}[{index}]", found)


def _untrimmed_image(container: Obj, path: str, found: Found) -> None:
    image = container.get("image") or ""
    if image != image.strip():
        found.append(causes.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))


def _common(container: Obj, path: str, around: Around, found: Found) -> None:
    get = container.get
    name = get("name")
    if not name:
        found.append(causes.required(f"{path}.name"))
    else:
        named(name, f"{path}.name", names.check_dns1123_label, found)
    if not get("image"):
        found.append(causes.required(f"{path}.image"))
    policy = get("terminationMessagePolicy")
    if policy not in _MESSAGE_POLICIES:
        _chosen(policy, f"{path}.terminationMessagePolicy", _MESSAGE_POLICIES, found)
    if ports := get("ports"):
        _ports(ports, f"{path}.ports", found)
    if env := get("env"):
        _env(env, f"{path}.env", around, found)
    if sources := get("envFrom"):
        _env_from(sources, f"{path}.envFrom", found)
    mounts, devices = get("volumeMounts"), get("volumeDevices")
    if mounts:
        _mounts(mounts, devices or (), container, f"{path}.volumeMounts", around.volumes, found)
    if devices:
        _devices(devices, mounts or (), f"{path}.volumeDevices", around.volumes, found)
    policy = get("imagePullPolicy")
    if policy not in _PULL_POLICIES:
        _chosen(policy, f"{path}.imagePullPolicy", _PULL_POLICIES, found)
    if resources := get("resources"):
        container_requirements(resources, f"{path}.resources", around.claims, found)
    if policies := get("resizePolicy"):
        _resize_policies(policies, f"{path}.resizePolicy", around.spec.get("restartPolicy"), found)
    if context := get("securityContext"):
        security_context(context, f"{path}.securityContext", around.host_users, found)


def _chosen(value: Any, path: str, supported: tuple[str, ...], found: Found) -> None:
    """One of ``supported`` where the default is filled in: absence is another complaint."""
    if not value:
        found.append(causes.required(path))
    else:
        found.append(causes.not_supported(path, value, supported))


def _ports(ports: list[Obj], path: str, found: Found) -> None:
    taken: set[str] = set()
    for index, port in enumerate(ports):
        name = port.get("name")
        if name:
            if problems := names.check_port_name(name):
                found += causes.invalid_each(f"{path}[{index}].name", name, problems)
            elif name in taken:
                found.append(causes.duplicate(f"{path}[{index}].name", name))
            taken.add(name)
        number = port.get("containerPort")
        if not number:
            found.append(causes.required(f"{path}[{index}].containerPort"))
        elif not 1 <= number <= 65535:
            found.append(causes.invalid(f"{path}[{index}].containerPort", number, PORT_RANGE))
        host = port.get("hostPort")
        if host and not 1 <= host <= 65535:
            found.append(causes.invalid(f"{path}[{index}].hostPort", host, PORT_RANGE))
        protocol = port.get("protocol")
        if protocol not in _PROTOCOLS:
            _chosen(protocol, f"{path}[{index}].protocol", _PROTOCOLS, found)


def _host_ports(listed: list[Obj], path: str, found: Found) -> None:
    taken: set[str] = set()
    for index, container in enumerate(listed):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if key in taken:
                found.append(causes.duplicate(f"{path}[{index}].ports[{number}].hostPort", key))
            taken.add(key)


def _env(env: list[Obj], path: str, around: Around, found: Found) -> None:
    for index, variable in enumerate(env):
        name = variable.get("name")
        if not name:
            found.append(causes.required(f"{path}[{index}].name"))
        elif not (name.isascii() and name.isidentifier()):
            named(name, f"{path}[{index}].name", names.check_env_name, found)
        source = variable.get("valueFrom")
        if source is not None:
            where = f"{path}[{index}].valueFrom"
            _env_source(source, variable.get("value"), where, found)
            if (file := source.get("fileKeyRef")) is not None:
                place = f"{where}.fileKeyRef.volumeName"
                around.variable_files.append((file.get("volumeName") or "", place))


def _env_source(source: Obj, value: str | None, path: str, found: Found) -> None:
    given = [key for key in _ENV_SOURCES if source.get(key) is not None]
    for key in given:
        reference, where = source[key], f"{path}.{key}"
        if key == "fieldRef":
            field_reference(reference, where, ENV_FIELDS, found)
        elif key == "resourceFieldRef":
            resource_reference(reference, where, found, in_file=False)
        elif key == "fileKeyRef":
            _file_key(reference, where, found)
        else:
            named(reference.get("name") or "", f"{where}.name", names.check_dns1123_subdomain, found)
            if not reference.get("key"):
                found.append(causes.required(f"{where}.key"))
            else:
                named(reference["key"], f"{where}.key", names.check_config_key, found)
    if not given:
        told = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        found.append(causes.invalid(path, "", told))
    elif value:
        found.append(causes.invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        found.append(causes.invalid(path, "", "may not have more than one field specified at a time"))


def _file_key(reference: Obj, path: str, found: Found) -> None:
    for key, check in (("key", names.check_env_name), ("volumeName", names.check_dns1123_label)):
        if not reference.get(key):
            found.append(causes.required(f"{path}.{key}"))
        else:
            named(reference[key], f"{path}.{key}", check, found)
    if not reference.get("path"):
        found.append(causes.required(f"{path}.path"))
    else:
        no_back_steps(reference["path"], f"{path}.path", found)


def _env_from(sources: list[Obj], path: str, found: Found) -> None:
    for index, source in enumerate(sources):
        if source.get("prefix"):
            named(source["prefix"], f"{path}[{index}].prefix", names.check_env_name, found)
        given = [key for key in ("configMapRef", "secretRef") if source.get(key) is not None]
        for key in given:
            where = f"{path}[{index}].{key}.name"
            if not source[key].get("name"):
                found.append(causes.required(where))
            else:
                named(source[key]["name"], where, names.check_dns1123_subdomain, found)
        # Upstream names the list here, not the entry.
        if not given:
            found.append(causes.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            found.append(causes.invalid(path, "", "may not have more than one field specified at a time"))


def _mounts(
    mounts: list[Obj],
    devices: Collection[Obj],
    container: Obj,
    path: str,
    volumes: Mapping[str, Obj],
    found: Found,
) -> None:
    places: set[str] = set()
    device_names = {device.get("name") or "" for device in devices}
    device_paths = {device.get("devicePath") or "" for device in devices}
    for index, mount in enumerate(mounts):
        get = mount.get
        name, place = get("name") or "", get("mountPath") or ""
        if not name:
            found.append(causes.required(f"{path}[{index}].name"))
        if name not in volumes:
            found.append(causes.not_found(f"{path}[{index}].name", name))
        if not place:
            found.append(causes.required(f"{path}[{index}].mountPath"))
        if place in places:
            found.append(causes.invalid(f"{path}[{index}].mountPath", place, "must be unique"))
        places.add(place)
        if name in device_names:
            found.append(
                causes.invalid(f"{path}[{index}].name", name, "must not already exist in volumeDevices")
            )
        if place in device_paths:
            told = "must not already exist as a path in volumeDevices"
            found.append(causes.invalid(f"{path}[{index}].mountPath", place, told))
        # From here on upstream names the list, not the mount, in places.
        if sub := get("subPath"):
            relative_path(sub, f"{path}.subPath", found)
        if expression := get("subPathExpr"):
            if sub:
                told = "subPathExpr and subPath are mutually exclusive"
                found.append(causes.invalid(f"{path}[{index}].subPathExpr", expression, told))
            relative_path(expression, f"{path}.subPathExpr", found)
        if propagation := get("mountPropagation"):
            _propagation(propagation, container, f"{path}.mountPropagation", found)
        if (read_only := get("recursiveReadOnly")) is not None:
            _recursive_read_only(read_only, mount, f"{path}.recursiveReadOnly", found)


def _propagation(value: str, container: Obj, path: str, found: Found) -> None:
    one_of(value, path, _PROPAGATIONS, found)
    if value == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        told = "Bidirectional mount propagation is available only to privileged containers"
        found.append(causes.forbidden(path, told))


def _recursive_read_only(value: str, mount: Obj, path: str, found: Found) -> None:
    if value not in _READ_ONLY:
        found.append(causes.not_supported(path, value, _READ_ONLY))
    elif value != "Disabled":
        if not mount.get("readOnly"):
            found.append(causes.forbidden(path, "may only be specified when readOnly is true"))
        if (mount.get("mountPropagation") or "None") != "None":
            told = "may only be specified when mountPropagation is None or not specified"
            found.append(causes.forbidden(path, told))


def _devices(
    devices: list[Obj], mounts: Collection[Obj], path: str, volumes: Mapping[str, Obj], found: Found
) -> None:
    taken_names: set[str] = set()
    taken_paths: set[str] = set()
    mount_names = {mount.get("name") or "" for mount in mounts}
    mount_paths = {mount.get("mountPath") or "" for mount in mounts}
    for index, device in enumerate(devices):
        where = f"{path}[{index}]"
        name, place = device.get("name") or "", device.get("devicePath") or ""
        volume = volumes.get(name)
        if not name:
            found.append(causes.required(f"{where}.name"))
        if name in taken_names:
            found.append(causes.invalid(f"{where}.name", name, "must be unique"))
        if volume is None:
            found.append(causes.not_found(f"{where}.name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            told = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            found.append(causes.invalid(f"{where}.name", name, told))
        if not place:
            found.append(causes.required(f"{where}.devicePath"))
        if place in taken_paths:
            found.append(causes.invalid(f"{where}.devicePath", place, "must be unique"))
        if ".." in place.split("/"):
            found.append(causes.invalid(f"{where}.devicePath", place, "can not contain backsteps ('..')"))
        else:
            taken_paths.add(place)
        if name in mount_names:
            found.append(causes.invalid(f"{where}.name", name, "must not already exist in volumeMounts"))
        if place in mount_paths:
            told = "must not already exist as a path in volumeMounts"
            found.append(causes.invalid(f"{where}.devicePath", place, told))
        if name:
            taken_names.add(name)


def _resize_policies(policies: list[Obj], path: str, pod_restart: str | None, found: Found) -> None:
    taken: set[str] = set()
    for index, policy in enumerate(policies):
        resource, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if resource in taken:
            found.append(causes.duplicate(f"{path}[{index}]", resource))
        taken.add(resource)
        if resource not in ("cpu", "memory"):
            _chosen(resource, path, ("cpu", "memory"), found)
        if restart not in ("NotRequired", "RestartContainer"):
            _chosen(restart, path, ("NotRequired", "RestartContainer"), found)
        if pod_restart == "Never" and restart != "NotRequired":
            told = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            found.append(causes.invalid(path, restart, told))


def _restart_policy(container: Obj, path: str, found: Found) -> None:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is None:
        if not rules:
            return
        told = "must specify restartPolicy when restart rules are used"
        found.append(causes.required(f"{path}.restartPolicy", told))
    elif policy not in _RESTARTS:
        found.append(causes.not_supported(f"{path}.restartPolicy", policy, _RESTARTS))
    if len(rules) > _MAX_RESTART_RULES:
        found.append(causes.too_many(f"{path}.restartPolicyRules", len(rules), _MAX_RESTART_RULES))
    for index, rule in enumerate(rules):
        where = f"{path}.restartPolicyRules[{index}]"
        one_of(rule.get("action"), f"{where}.action", _RESTART_ACTIONS, found)
        codes = rule.get("exitCodes")
        if codes is None:
            found.append(causes.required(f"{where}.exitCodes", "must be specified"))
            continue
        one_of(codes.get("operator"), f"{where}.exitCodes.operator", _EXIT_CODE_OPERATORS, found)
        count = len(codes.get("values") or ())
        if count > _MAX_EXIT_CODES:
            found.append(causes.too_many(f"{where}.exitCodes.values", count, _MAX_EXIT_CODES))
