"""Probes and lifecycle handlers."""

from __future__ import annotations

from typing import Any

from kubernel.errors import Cause
from kubernel.objects import names
from kubernel_plugins.api.builtin import causes

__all__ = ["validate_lifecycle", "validate_probes"]

Obj = dict[str, Any]

_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
_PORT_RANGE = "must be between 1 and 65535, inclusive"


def _validate_port(port: Any, path: str) -> list[Cause]:
    if isinstance(port, int):
        return [] if 1 <= port <= 65535 else [causes.invalid(path, port, _PORT_RANGE)]
    return [causes.invalid(path, port, problem) for problem in names.check_port_name(port or "")]


def _validate_handler(handler: Obj, path: str, kinds: tuple[str, ...]) -> list[Cause]:
    given = [kind for kind in kinds if handler.get(kind) is not None]
    if not given:
        return [causes.required(path, "must specify a handler type")]
    found = [
        causes.forbidden(f"{path}.{kind}", "may not specify more than 1 handler type") for kind in given[1:]
    ]
    kind = given[0]
    action = handler[kind]
    if kind == "exec" and not action.get("command"):
        found.append(causes.required(f"{path}.exec.command"))
    if kind in ("httpGet", "tcpSocket"):
        found += _validate_port(action.get("port"), f"{path}.{kind}.port")
    if kind == "httpGet" and not action.get("path"):
        found.append(causes.required(f"{path}.httpGet.path"))
    return found


def _validate_probe(probe: Obj, path: str, *, once: bool) -> list[Cause]:
    found = _validate_handler(probe, path, _PROBES)
    for key in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        value = probe.get(key)
        if value is not None and value < 0:
            found.append(causes.invalid(f"{path}.{key}", value, "must be greater than or equal to 0"))
    if once and probe.get("successThreshold", 1) != 1:
        found.append(causes.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        found.append(causes.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return found


def validate_probes(container: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    for name, once in (("livenessProbe", True), ("readinessProbe", False), ("startupProbe", True)):
        probe = container.get(name)
        if probe is not None:
            found += _validate_probe(probe, f"{path}.{name}", once=once)
    readiness = container.get("readinessProbe")
    if readiness is not None and readiness.get("terminationGracePeriodSeconds") is not None:
        found.append(
            causes.invalid(
                f"{path}.readinessProbe.terminationGracePeriodSeconds",
                readiness["terminationGracePeriodSeconds"],
                "must not be set for readinessProbes",
            )
        )
    return found


def validate_lifecycle(lifecycle: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    for hook in ("postStart", "preStop"):
        if lifecycle.get(hook) is not None:
            found += _validate_handler(lifecycle[hook], f"{path}.{hook}", _HOOKS)
    return found
