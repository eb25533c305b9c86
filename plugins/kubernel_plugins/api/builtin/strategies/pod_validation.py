"""What a pod or a pod template must be beyond its schema.

Source: pkg/apis/core/validation/validation.go (v1.37), its most used rules.
"""

from __future__ import annotations

from typing import Any

from kubernel.errors import Cause
from kubernel.objects import names, quantity
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.probes import validate_lifecycle, validate_probes
from kubernel_plugins.api.builtin.strategies.volumes import validate_volume_mounts, validate_volumes

__all__ = [
    "PORT_RANGE",
    "validate_container_list",
    "validate_pod",
    "validate_pod_spec",
    "validate_resources",
]

Obj = dict[str, Any]

PORT_RANGE = "must be between 1 and 65535, inclusive"
_MAX_INT32 = 2**31 - 1
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and 1 <= value <= 65535


def validate_pod(pod: Obj) -> list[Cause]:
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return [causes.required("spec.containers")]
    return validate_pod_spec(spec, "spec")


def validate_pod_spec(spec: Obj, path: str) -> list[Cause]:
    """``path`` is where the spec stands: ``spec`` or ``spec.template.spec``."""
    found: list[Cause] = []
    if not spec.get("containers"):
        found.append(causes.required(f"{path}.containers"))
    volumes, problems = validate_volumes(spec.get("volumes") or [], f"{path}.volumes")
    found += problems
    taken: set[str] = set()
    for kind in ("initContainers", "containers"):
        found += validate_container_list(spec, path, kind, taken, volumes)
    if spec.get("ephemeralContainers") and path == "spec":
        found.append(causes.forbidden(f"{path}.ephemeralContainers", "cannot be set on create"))
    found += _validate_terms(spec, path)
    return found


def _validate_terms(spec: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        found.append(
            causes.invalid(
                f"{path}.activeDeadlineSeconds", deadline, f"must be between 1 and {_MAX_INT32}, inclusive"
            )
        )
    for key, check in (
        ("serviceAccountName", names.check_dns1123_subdomain),
        ("nodeName", names.check_dns1123_subdomain),
        ("hostname", names.check_dns1123_label),
        ("subdomain", names.check_dns1123_label),
    ):
        value = spec.get(key)
        if value:
            found += [causes.invalid(f"{path}.{key}", value, problem) for problem in check(value)]
    for key, value in (spec.get("nodeSelector") or {}).items():
        if problems := names.check_qualified_name(key):
            found += [causes.invalid(f"{path}.nodeSelector", key, problem) for problem in problems]
        if problems := names.check_label_value(value):
            found += [causes.invalid(f"{path}.nodeSelector", value, problem) for problem in problems]
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        found += _validate_toleration(toleration, f"{path}.tolerations[{index}]")
    gates: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        field = f"{path}.schedulingGates[{index}]"
        name = gate.get("name") or ""
        if problems := names.check_qualified_name(name):
            found += [causes.invalid(field, name, problem) for problem in problems]
        if name in gates:
            found.append(causes.duplicate(field, name))
        gates.add(name)
    return found


def _validate_toleration(toleration: Obj, path: str) -> list[Cause]:
    key, operator = toleration.get("key"), toleration.get("operator") or "Equal"
    if key:
        problems = names.check_qualified_name(key)
        if problems:
            return [causes.invalid(f"{path}.key", key, problem) for problem in problems]
    elif operator != "Exists":
        return [
            causes.invalid(
                f"{path}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        ]
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        return [
            causes.invalid(
                f"{path}.effect",
                toleration.get("effect") or "",
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            )
        ]
    if operator == "Exists" and toleration.get("value"):
        return [
            causes.invalid(
                f"{path}.operator",
                toleration["value"],
                "value must be empty when `operator` is 'Exists'",
            )
        ]
    return []


def validate_container_list(
    spec: Obj, path: str, kind: str, taken: set[str] | None = None, volumes: set[str] | None = None
) -> list[Cause]:
    """The containers of one list. ``taken`` gathers names over several lists, ``volumes`` is what may be
    mounted (both are found in ``spec`` when not given)."""
    found: list[Cause] = []
    if taken is None:
        others = [one for one in ("initContainers", "containers") if one != kind]
        taken = {container.get("name") for one in others for container in spec.get(one) or ()}
    if volumes is None:
        volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    for index, container in enumerate(spec.get(kind) or ()):
        field = f"{path}.{kind}[{index}]"
        name = container.get("name") or ""
        if not name:
            found.append(causes.required(f"{field}.name"))
        else:
            if problems := names.check_dns1123_label(name):
                found += [causes.invalid(f"{field}.name", name, problem) for problem in problems]
            if name in taken:
                found.append(causes.duplicate(f"{field}.name", name))
            taken.add(name)
        found += _validate_container(container, field, kind, spec, volumes)
    return found


def _validate_container(container: Obj, path: str, kind: str, spec: Obj, volumes: set[str]) -> list[Cause]:
    found: list[Cause] = []
    image = container.get("image") or ""
    if not image:
        found.append(causes.required(f"{path}.image"))
    elif image != image.strip() and path.startswith("spec.") and ".template." not in path:
        # Templates may hold placeholders such as a single blank.
        found.append(causes.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if kind == "initContainers" and container.get("restartPolicy") != "Always":
        found += [
            causes.forbidden(
                f"{path}.{key}", "may not be set for init containers without restartPolicy=Always"
            )
            for key in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
            if container.get(key)
        ]
    elif kind == "ephemeralContainers":
        found += [
            causes.forbidden(f"{path}.{key}", "cannot be set for an Ephemeral Container")
            for key in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources")
            if container.get(key)
        ]
    else:
        found += validate_probes(container, path)
        found += validate_lifecycle(container.get("lifecycle") or {}, f"{path}.lifecycle")
    found += _validate_ports(container.get("ports") or [], f"{path}.ports", bool(spec.get("hostNetwork")))
    found += _validate_env(container.get("env") or [], f"{path}.env")
    found += _validate_env_from(container.get("envFrom") or [], f"{path}.envFrom")
    found += validate_volume_mounts(container, path, volumes)
    found += validate_resources(container.get("resources") or {}, f"{path}.resources")
    return found


def _validate_ports(ports: list[Obj], path: str, host_network: bool) -> list[Cause]:
    found: list[Cause] = []
    named: set[str] = set()
    for index, port in enumerate(ports):
        field = f"{path}[{index}]"
        name = port.get("name")
        if name:
            if problems := names.check_port_name(name):
                found += [causes.invalid(f"{field}.name", name, problem) for problem in problems]
            else:
                if name in named:
                    found.append(causes.duplicate(f"{field}.name", name))
                named.add(name)
        number = port.get("containerPort")
        if not number:
            found.append(causes.required(f"{field}.containerPort"))
        elif not _is_port(number):
            found.append(causes.invalid(f"{field}.containerPort", number, PORT_RANGE))
        host = port.get("hostPort")
        if host:
            if not _is_port(host):
                found.append(causes.invalid(f"{field}.hostPort", host, PORT_RANGE))
            elif host_network and host != number:
                found.append(
                    causes.invalid(
                        f"{field}.containerPort", number, "must match `hostPort` when `hostNetwork` is true"
                    )
                )
    return found


def _validate_env(env: list[Obj], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, variable in enumerate(env):
        field = f"{path}[{index}]"
        name = variable.get("name") or ""
        if not name:
            found.append(causes.required(f"{field}.name"))
        elif problems := names.check_env_name(name):
            found += [causes.invalid(f"{field}.name", name, problem) for problem in problems]
        source = variable.get("valueFrom")
        if source is None:
            continue
        given = [key for key in _ENV_SOURCES if source.get(key) is not None]
        if not given:
            found.append(
                causes.invalid(
                    f"{field}.valueFrom",
                    "",
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, "
                    "`secretKeyRef` or `fileKeyRef`",
                )
            )
        elif variable.get("value"):
            found.append(
                causes.invalid(f"{field}.valueFrom", "", "may not be specified when `value` is not empty")
            )
        elif len(given) > 1:
            found.append(
                causes.invalid(
                    f"{field}.valueFrom", "", "may not have more than one field specified at a time"
                )
            )
        for key in ("configMapKeyRef", "secretKeyRef"):
            reference = source.get(key)
            if reference is not None:
                wanted = reference.get("key") or ""
                if not wanted:
                    found.append(causes.required(f"{field}.valueFrom.{key}.key"))
                elif problems := names.check_config_key(wanted):
                    found += [
                        causes.invalid(f"{field}.valueFrom.{key}.key", wanted, problem)
                        for problem in problems
                    ]
    return found


def _validate_env_from(sources: list[Obj], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, source in enumerate(sources):
        field = f"{path}[{index}]"
        if source.get("prefix") and (problems := names.check_env_name(source["prefix"])):
            found += [causes.invalid(f"{field}.prefix", source["prefix"], problem) for problem in problems]
        given = [key for key in ("configMapRef", "secretRef") if source.get(key) is not None]
        if not given:
            found.append(causes.invalid(field, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            found.append(causes.invalid(field, "", "may not have more than one field specified at a time"))
        for key in given:
            if not source[key].get("name"):
                found.append(causes.required(f"{field}.{key}.name"))
    return found


def validate_resources(resources: Obj, path: str) -> list[Cause]:
    """Quantities are not negative and no request is above its limit."""
    found: list[Cause] = []
    values: dict[str, dict[str, Any]] = {"limits": {}, "requests": {}}
    for kind, amounts in values.items():
        for name, text in (resources.get(kind) or {}).items():
            if problems := names.check_qualified_name(name):
                found += [causes.invalid(f"{path}.{kind}", name, problem) for problem in problems]
            try:
                amount = quantity.parse(text)
            except ValueError:
                continue  # the schema says so
            amounts[name] = amount
            if amount < 0:
                field = f"{path}.{kind}[{name}]" if "/" in name else f"{path}.{kind}.{name}"
                found.append(causes.invalid(field, text, "must be greater than or equal to 0"))
    for name, request in values["requests"].items():
        limit = values["limits"].get(name)
        text = (resources.get("limits") or {}).get(name)
        if limit is not None and request > limit:
            found.append(
                causes.invalid(
                    f"{path}.requests",
                    resources["requests"][name],
                    f"must be less than or equal to {name} limit of {text}",
                )
            )
        elif "/" in name and limit is not None and request != limit:
            found.append(
                causes.invalid(
                    f"{path}.requests",
                    resources["requests"][name],
                    f"must be equal to {name} limit of {text}",
                )
            )
    return found
