"""The checks of the Pod Security Standards.

A check looks at a pod's annotations and spec and tells what it found: the reason and the detail, or None. Which
version of a check holds from which minor version on, and which checks of the level below it replaces, is in
``CHECKS``. Source: k8s.io/pod-security-admission/policy (v1.37).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["CHECKS", "Check", "Finding"]

_Json = Mapping[str, Any]


class Finding(NamedTuple):
    """``reason`` names what is wrong, ``detail`` who does it."""

    reason: str
    detail: str


_CheckPod = Callable[[_Json, _Json], Finding | None]
"""(annotations, pod spec) -> what is wrong."""


class Check(NamedTuple):
    """``versions`` are (first minor version, check), ascending. ``overrides`` are baseline checks that it contains."""

    id: str
    restricted: bool
    versions: tuple[tuple[int, _CheckPod], ...]
    overrides: tuple[str, ...] = ()


def _containers(spec: _Json) -> Iterator[_Json]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def _context(of: _Json) -> _Json:
    context: _Json = of.get("securityContext") or {}
    return context


def _names(spec: _Json, bad: Callable[[_Json], bool]) -> list[str]:
    """The containers of which ``bad`` holds."""
    return [container.get("name", "") for container in _containers(spec) if bad(container)]


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _plural(word: str, count: Collection[str]) -> str:
    return word if len(count) == 1 else f"{word}s"


def _told(names: list[str]) -> str:
    """``container "a"`` or ``containers "a", "b"``."""
    return f"{_plural('container', names)} {_quoted(names)}"


def _setters(pod: bool, names: list[str]) -> list[str]:
    """Who sets something: the pod, some containers, both."""
    return [*(["pod"] if pod else []), *([_told(names)] if names else [])]


def _uses(names: Collection[str]) -> str:
    return "uses" if len(names) == 1 else "use"


def _windows(spec: _Json) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def _own_users(spec: _Json) -> bool:
    """A pod in a user namespace of its own: its root is nobody outside (KEP-127)."""
    return spec.get("hostUsers") is False


def _not_on_windows(check: _CheckPod) -> _CheckPod:
    return lambda annotations, spec: None if _windows(spec) else check(annotations, spec)


def _not_with_own_users(check: _CheckPod) -> _CheckPod:
    return lambda annotations, spec: None if _own_users(spec) else check(annotations, spec)


# --- baseline

_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def _apparmor(annotations: _Json, spec: _Json) -> Finding | None:
    values: set[str] = set()

    def bad(of: _Json) -> bool:
        profile = _context(of).get("appArmorProfile")
        if profile is None or profile.get("type") in ("RuntimeDefault", "Localhost"):
            return False
        values.add(profile.get("type", ""))
        return True

    setters = _setters(bad(spec), _names(spec, bad))
    annotated = sorted(
        f"{key}={json.dumps(value)}"
        for key, value in annotations.items()
        if key.startswith(_APPARMOR)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    if annotated:
        setters.append(_plural("annotation", annotated))
    if not setters:
        return None
    told = [*sorted(values), *annotated]
    return Finding(
        _plural("forbidden AppArmor profile", told),
        f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(told)}",
    )


_DEFAULT_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip


def _added(spec: _Json, allowed: frozenset[str]) -> tuple[list[str], list[str]]:
    """(containers that add capabilities beyond ``allowed``, those capabilities)."""
    found: set[str] = set()

    def bad(container: _Json) -> bool:
        extra = set((_context(container).get("capabilities") or {}).get("add") or ()) - allowed
        found.update(extra)
        return bool(extra)

    names = _names(spec, bad)
    return names, sorted(found)


def _capabilities_baseline(annotations: _Json, spec: _Json) -> Finding | None:
    names, extra = _added(spec, _DEFAULT_CAPABILITIES)
    if not names:
        return None
    return Finding(
        "non-default capabilities",
        f"{_told(names)} must not include {_quoted(extra)} in securityContext.capabilities.add",
    )


def _host_namespaces(annotations: _Json, spec: _Json) -> Finding | None:
    shared = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    return Finding("host namespaces", ", ".join(shared)) if shared else None


def _host_path(annotations: _Json, spec: _Json) -> Finding | None:
    names = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Finding("hostPath volumes", f"{_plural('volume', names)} {_quoted(names)}") if names else None


def _host_ports(annotations: _Json, spec: _Json) -> Finding | None:
    ports: set[str] = set()

    def bad(container: _Json) -> bool:
        used = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        ports.update(used)
        return bool(used)

    names = _names(spec, bad)
    if not names:
        return None
    return Finding(
        "hostPort", f"{_told(names)} {_uses(names)} {_plural('hostPort', ports)} {', '.join(sorted(ports))}"
    )


def _handler_hosts(handler: _Json | None) -> set[str]:
    hosts = (((handler or {}).get(kind) or {}).get("host") for kind in ("httpGet", "tcpSocket"))
    return {host for host in hosts if host}


def _probe_hosts(annotations: _Json, spec: _Json) -> Finding | None:
    hosts: set[str] = set()

    def bad(container: _Json) -> bool:
        lifecycle = container.get("lifecycle") or {}
        found = set().union(
            *(
                _handler_hosts(container.get(key))
                for key in ("livenessProbe", "readinessProbe", "startupProbe")
            ),
            *(_handler_hosts(lifecycle.get(key)) for key in ("postStart", "preStop")),
        )
        hosts.update(found)
        return bool(found)

    names = sorted(set(_names(spec, bad)))
    if not names:
        return None
    what = _plural("probe or lifecycle host", hosts)
    return Finding(
        "probe or lifecycle host", f"{_told(names)} {_uses(names)} {what} {_quoted(sorted(hosts))}"
    )


def _privileged(annotations: _Json, spec: _Json) -> Finding | None:
    names = _names(spec, lambda container: bool(_context(container).get("privileged")))
    if not names:
        return None
    return Finding("privileged", f"{_told(names)} must not set securityContext.privileged=true")


def _proc_mount(annotations: _Json, spec: _Json) -> Finding | None:
    kinds: set[str] = set()

    def bad(container: _Json) -> bool:
        kind = _context(container).get("procMount")
        if kind in (None, "Default"):
            return False
        kinds.add(str(kind))
        return True

    names = _names(spec, bad)
    if not names:
        return None
    return Finding(
        "procMount", f"{_told(names)} must not set securityContext.procMount to {_quoted(sorted(kinds))}"
    )


_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))


def _selinux(types: frozenset[str]) -> _CheckPod:
    def check(annotations: _Json, spec: _Json) -> Finding | None:
        bad_types: set[str] = set()
        also: set[str] = set()

        def bad(of: _Json) -> bool:
            options = _context(of).get("seLinuxOptions") or {}
            kind = options.get("type") or ""
            wrong = kind not in types
            if wrong:
                bad_types.add(kind)
            for key in ("user", "role"):
                if options.get(key):
                    also.add(key)
                    wrong = True
            return wrong

        setters = _setters(bad(spec), _names(spec, bad))
        if not setters:
            return None
        data = [f"{_plural('type', bad_types)} {_quoted(sorted(bad_types))}"] if bad_types else []
        data += [f"{key} may not be set" for key in ("user", "role") if key in also]
        return Finding(
            "seLinuxOptions",
            f"{' and '.join(setters)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}",
        )

    return check


_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP_TYPES = ("Localhost", "RuntimeDefault")


def _seccomp_annotations(annotations: _Json, spec: _Json) -> Finding | None:
    keys = [_SECCOMP_POD, *(f"{_SECCOMP_CONTAINER}{container['name']}" for container in _containers(spec))]
    bad = {
        f"{key}={json.dumps(annotations[key])}"
        for key in keys
        if key in annotations
        and annotations[key] not in ("runtime/default", "docker/default")
        and not annotations[key].startswith("localhost/")
    }
    if not bad:
        return None
    return Finding("seccompProfile", f"forbidden {_plural('annotation', bad)} {', '.join(sorted(bad))}")


def _bad_seccomp(spec: _Json) -> Finding | None:
    values: set[str] = set()

    def bad(of: _Json) -> bool:
        profile = _context(of).get("seccompProfile")
        if profile is None or profile.get("type") in _SECCOMP_TYPES:
            return False
        values.add(profile.get("type", ""))
        return True

    setters = _setters(bad(spec), _names(spec, bad))
    if not setters:
        return None
    return Finding(
        "seccompProfile",
        f"{' and '.join(setters)} must not set securityContext.seccompProfile.type to {_quoted(sorted(values))}",
    )


def _seccomp_baseline(annotations: _Json, spec: _Json) -> Finding | None:
    return _bad_seccomp(spec)


_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    )
)
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
_SYSCTLS_37 = _SYSCTLS_32 | {"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"}


def _sysctls(allowed: frozenset[str]) -> _CheckPod:
    def check(annotations: _Json, spec: _Json) -> Finding | None:
        bad = [entry["name"] for entry in _context(spec).get("sysctls") or () if entry["name"] not in allowed]
        return Finding("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def _host_process(annotations: _Json, spec: _Json) -> Finding | None:
    def bad(of: _Json) -> bool:
        return bool((_context(of).get("windowsOptions") or {}).get("hostProcess"))

    setters = _setters(bad(spec), _names(spec, bad))
    if not setters:
        return None
    return Finding(
        "hostProcess", f"{' and '.join(setters)} must not set securityContext.windowsOptions.hostProcess=true"
    )


# --- restricted


def _escalation(annotations: _Json, spec: _Json) -> Finding | None:
    names = _names(spec, lambda one: _context(one).get("allowPrivilegeEscalation") is not False)
    if not names:
        return None
    return Finding(
        "allowPrivilegeEscalation != false",
        f"{_told(names)} must set securityContext.allowPrivilegeEscalation=false",
    )


def _capabilities_restricted(annotations: _Json, spec: _Json) -> Finding | None:
    keeps = _names(
        spec, lambda one: "ALL" not in ((_context(one).get("capabilities") or {}).get("drop") or ())
    )
    adds, extra = _added(spec, frozenset(("NET_BIND_SERVICE",)))
    details = [f'{_told(keeps)} must set securityContext.capabilities.drop=["ALL"]'] if keeps else []
    if adds:
        details.append(f"{_told(adds)} must not include {_quoted(extra)} in securityContext.capabilities.add")
    return Finding("unrestricted capabilities", "; ".join(details)) if details else None


_VOLUMES = (
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
)  # fmt: skip


def _restricted_volumes(annotations: _Json, spec: _Json) -> Finding | None:
    names: list[str] = []
    kinds: set[str] = set()
    for volume in spec.get("volumes") or ():
        if any(volume.get(kind) is not None for kind in _VOLUMES):
            continue
        names.append(volume["name"])
        kinds.add(next((kind for kind, told in volume.items() if kind != "name" and told), "unknown"))
    if not names:
        return None
    what = _plural("restricted volume type", kinds)
    return Finding(
        "restricted volume types",
        f"{_plural('volume', names)} {_quoted(names)} {_uses(names)} {what} {_quoted(sorted(kinds))}",
    )


def _non_root(annotations: _Json, spec: _Json) -> Finding | None:
    of_pod = _context(spec).get("runAsNonRoot")
    explicit = _names(spec, lambda one: _context(one).get("runAsNonRoot") is False)
    setters = _setters(of_pod is False, explicit)
    if setters:
        return Finding(
            "runAsNonRoot != true", f"{' and '.join(setters)} must not set securityContext.runAsNonRoot=false"
        )
    if of_pod is True:
        return None
    silent = _names(spec, lambda one: _context(one).get("runAsNonRoot") is None)
    if not silent:
        return None
    return Finding(
        "runAsNonRoot != true", f"pod or {_told(silent)} must set securityContext.runAsNonRoot=true"
    )


def _root_user(annotations: _Json, spec: _Json) -> Finding | None:
    def bad(of: _Json) -> bool:
        return bool(_context(of).get("runAsUser") == 0)

    setters = _setters(bad(spec), _names(spec, bad))
    return Finding("runAsUser=0", f"{' and '.join(setters)} must not set runAsUser=0") if setters else None


def _seccomp_restricted(annotations: _Json, spec: _Json) -> Finding | None:
    found = _bad_seccomp(spec)
    if found is not None or _context(spec).get("seccompProfile") is not None:
        return found
    silent = _names(spec, lambda one: _context(one).get("seccompProfile") is None)
    if not silent:
        return None
    return Finding(
        "seccompProfile",
        f'pod or {_told(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
    )


CHECKS: tuple[Check, ...] = (
    Check("appArmorProfile", False, ((0, _apparmor),)),
    Check("capabilities_baseline", False, ((0, _capabilities_baseline),)),
    Check("hostNamespaces", False, ((0, _host_namespaces),)),
    Check("hostPathVolumes", False, ((0, _host_path),)),
    Check("hostPorts", False, ((0, _host_ports),)),
    Check("hostProbesAndHostLifecycle", False, ((34, _probe_hosts),)),
    Check("privileged", False, ((0, _privileged),)),
    Check("procMount", False, ((0, _proc_mount), (35, _not_with_own_users(_proc_mount)))),
    Check(
        "seLinuxOptions",
        False,
        ((0, _selinux(_SELINUX_TYPES)), (31, _selinux(_SELINUX_TYPES | {"container_engine_t"}))),
    ),
    Check("seccompProfile_baseline", False, ((0, _seccomp_annotations), (19, _seccomp_baseline))),
    Check(
        "sysctls",
        False,
        (
            (0, _sysctls(_SYSCTLS)),
            (27, _sysctls(_SYSCTLS_27)),
            (29, _sysctls(_SYSCTLS_29)),
            (32, _sysctls(_SYSCTLS_32)),
            (37, _sysctls(_SYSCTLS_37)),
        ),
    ),
    Check("windowsHostProcess", False, ((0, _host_process),)),
    Check("allowPrivilegeEscalation", True, ((8, _escalation), (25, _not_on_windows(_escalation)))),
    Check(
        "capabilities_restricted",
        True,
        ((22, _capabilities_restricted), (25, _not_on_windows(_capabilities_restricted))),
        ("capabilities_baseline",),
    ),
    Check("procMount_restricted", True, ((35, _proc_mount),), ("procMount",)),
    Check("restrictedVolumes", True, ((0, _restricted_volumes),), ("hostPathVolumes",)),
    Check("runAsNonRoot", True, ((0, _non_root), (35, _not_with_own_users(_non_root)))),
    Check("runAsUser", True, ((23, _root_user), (35, _not_with_own_users(_root_user)))),
    Check(
        "seccompProfile_restricted",
        True,
        ((19, _seccomp_restricted), (25, _not_on_windows(_seccomp_restricted))),
        ("seccompProfile_baseline",),
    ),
)
"""In the order in which findings are told: baseline first, then by id."""
