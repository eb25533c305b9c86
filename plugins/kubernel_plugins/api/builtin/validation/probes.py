"""Probes and lifecycle handlers."""

from __future__ import annotations

import re

from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    not_negative,
    port,
    port_or_name,
)

__all__ = ["lifecycle", "probes"]

_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_HEADER = "[-A-Za-z0-9]+"
_header = re.compile(_HEADER)
_HEADER_PROBLEM = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for "
    f"validation is '{_HEADER}')"
)


def probes(container: Obj, path: str, grace: int | None, found: Found) -> None:
    """``grace`` is the pod's terminationGracePeriodSeconds."""
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(key)
        if probe is None:
            continue
        where = f"{path}.{key}"
        _probe(probe, where, grace, found)
        if key == "readinessProbe":
            seconds = probe.get("terminationGracePeriodSeconds")
            if seconds is not None:
                told = "must not be set for readinessProbes"
                found.append(causes.invalid(f"{where}.terminationGracePeriodSeconds", seconds, told))
        elif probe.get("successThreshold", 1) != 1:
            found.append(causes.invalid(f"{where}.successThreshold", probe["successThreshold"], "must be 1"))


def _probe(probe: Obj, path: str, grace: int | None, found: Found) -> None:
    _handler(probe, path, _PROBES, grace, found)
    not_negative(probe, path, found, *_NUMBERS)
    seconds = probe.get("terminationGracePeriodSeconds")
    if seconds is not None and seconds <= 0:
        found.append(
            causes.invalid(f"{path}.terminationGracePeriodSeconds", seconds, "must be greater than 0")
        )


def _handler(handler: Obj, path: str, kinds: tuple[str, ...], grace: int | None, found: Found) -> None:
    given = [kind for kind in kinds if handler.get(kind) is not None]
    if not given:
        found.append(causes.required(path, "must specify a handler type"))
        return
    kind = given[0]
    action, where = handler[kind], f"{path}.{kind}"
    if kind == "exec":
        if not action.get("command"):
            found.append(causes.required(f"{where}.command"))
    elif kind == "httpGet":
        _http_get(action, where, found)
    elif kind == "tcpSocket":
        port_or_name(action.get("port"), f"{where}.port", found)
    elif kind == "grpc":
        port(action.get("port") or 0, f"{where}.port", found)
    else:
        _sleep(action, where, grace, found)
    for other in given[1:]:
        found.append(causes.forbidden(f"{path}.{other}", "may not specify more than 1 handler type"))


def _http_get(action: Obj, path: str, found: Found) -> None:
    if not action.get("path"):
        found.append(causes.required(f"{path}.path"))
    port_or_name(action.get("port"), f"{path}.port", found)
    if action.get("scheme") not in ("HTTP", "HTTPS"):
        found.append(causes.not_supported(f"{path}.scheme", action.get("scheme") or "", ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        if not _header.fullmatch(name):
            found.append(causes.invalid(f"{path}.httpHeaders", name, _HEADER_PROBLEM))


def _sleep(action: Obj, path: str, grace: int | None, found: Found) -> None:
    seconds = action.get("seconds") or 0
    if grace is not None and not 0 <= seconds <= grace:
        told = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        found.append(causes.invalid(path, seconds, told))


def lifecycle(hooks: Obj, path: str, grace: int | None, found: Found) -> None:
    for hook in ("postStart", "preStop"):
        if hooks.get(hook) is not None:
            _handler(hooks[hook], f"{path}.{hook}", _HOOKS, grace, found)
