"""Security contexts of pods and containers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    id_number,
    named,
    optional_one_of,
    relative_path,
)

__all__ = [
    "containers_with_paths",
    "operating_system",
    "pod_security_context",
    "profile_annotations",
    "profiles_match_annotations",
    "security_context",
    "windows_host_process",
]

_SECCOMP_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = f"({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}"
_SYSCTL_LIMIT = 253
_sysctl = re.compile(_SYSCTL)
_IPC_SYSCTLS = frozenset(
    ("sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "shm", "msgmax", "msgmnb", "msgmni", "msg")
)
_PROFILE_LIMIT = 4095
_SPEC_LIMIT_KIB = 64
_DOMAIN_LIMIT = 256
_USER_LIMIT = 104
_control = re.compile(r"[\x00-\x1f\x7f]")
_net_bios = re.compile(r'[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}')
_dns_label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_dns_domain = re.compile(rf"{_dns_label}(?:\.{_dns_label})*")
_user_characters = re.compile(r'["/\\:;|=,\+\*\?<>@\[\]]')
_dots_and_spaces = re.compile(r"[\. ]+")
_NOT_WINDOWS = "cannot be set for a windows pod"
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


_PROFILES = (_APP_ARMOR, _SECCOMP_POD, _SECCOMP_CONTAINER)


def containers_with_paths(spec: Obj, path: str) -> Iterator[tuple[Obj, str]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield container, f"{path}.{kind}[{index}]"


def security_context(context: Obj | None, path: str, host_users: bool, found: Found) -> None:
    if not context:
        return
    id_number(context.get("runAsUser"), f"{path}.runAsUser", found)
    id_number(context.get("runAsGroup"), f"{path}.runAsGroup", found)
    mount = context.get("procMount")
    if mount is not None:
        optional_one_of(context, "procMount", path, ("Default", "Unmasked"), found)
        if host_users and mount == "Unmasked":
            told = "`hostUsers` must be false to use `Unmasked`"
            found.append(causes.invalid(f"{path}.procMount", mount, told))
    _seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", found)
    if context.get("allowPrivilegeEscalation") is False:
        _no_escalation(context, path, found)
    _windows_options(context.get("windowsOptions"), f"{path}.windowsOptions", found)
    _app_armor(context.get("appArmorProfile"), f"{path}.appArmorProfile", found)


def _no_escalation(context: Obj, path: str, found: Found) -> None:
    added = (context.get("capabilities") or {}).get("add") or ()
    told = []
    if context.get("privileged"):
        told.append("`privileged` to true")
    told += ["`capabilities.Add` CAP_SYS_ADMIN" for one in added if one == "CAP_SYS_ADMIN"]
    for what in told:
        shown = go_value("core.SecurityContext", context)
        why = f"cannot set `allowPrivilegeEscalation` to false and {what}"
        found.append(causes.invalid(path, shown, why))


def pod_security_context(context: Obj | None, spec: Obj, path: str, found: Found) -> None:
    if not context:
        return
    for key in ("fsGroup", "runAsUser", "runAsGroup"):
        id_number(context.get(key), f"{path}.{key}", found)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        id_number(group, f"{path}.supplementalGroups[{index}]", found)
    _sysctls(context.get("sysctls") or (), spec, f"{path}.sysctls", found)
    optional_one_of(context, "fsGroupChangePolicy", path, ("Always", "OnRootMismatch"), found)
    _seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", found)
    _windows_options(context.get("windowsOptions"), f"{path}.windowsOptions", found)
    _app_armor(context.get("appArmorProfile"), f"{path}.appArmorProfile", found)
    optional_one_of(context, "supplementalGroupsPolicy", path, ("Merge", "Strict"), found)
    optional_one_of(context, "seLinuxChangePolicy", path, ("MountOption", "Recursive"), found)


def _sysctls(sysctls: list[Obj] | tuple[()], spec: Obj, path: str, found: Found) -> None:
    taken: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name, where = sysctl.get("name") or "", f"{path}[{index}].name"
        if not name:
            found.append(causes.required(where))
        elif len(name) > _SYSCTL_LIMIT or not _sysctl.fullmatch(name):
            told = f"must have at most {_SYSCTL_LIMIT} characters and match regex ^{_SYSCTL}$"
            found.append(causes.invalid(where, name, told))
        elif name in taken:
            found.append(causes.duplicate(where, name))
        namespace = _sysctl_namespace(name)
        if spec.get("hostNetwork") and namespace == "net":
            found.append(causes.invalid(where, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and namespace == "ipc":
            found.append(causes.invalid(where, name, "may not be specified when 'hostIPC' is true"))
        taken.add(name)


def _sysctl_namespace(name: str) -> str:
    slash, dot = name.find("/"), name.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        # Either separator may come first; the other then is part of a name.
        name = name.translate(str.maketrans("/.", "./"))
    name = name.partition("*")[0]
    if name.startswith("net."):
        return "net"
    ipc = name.removeprefix("kernel.") in _IPC_SYSCTLS if name.startswith("kernel.") else False
    return "ipc" if ipc or name.startswith("fs.mqueue.") else ""


def _seccomp(profile: Obj | None, path: str, found: Found) -> None:
    if profile is None:
        return
    type, local = profile.get("type") or "", profile.get("localhostProfile")
    if not type:
        found.append(causes.required(f"{path}.type", "type is required when seccompProfile is set"))
    elif type not in _SECCOMP_TYPES:
        found.append(causes.not_supported(f"{path}.type", type, _SECCOMP_TYPES))
    if type == "Localhost":
        if local is None:
            told = "must be set when seccomp type is Localhost"
            found.append(causes.required(f"{path}.localhostProfile", told))
        else:
            relative_path(local, f"{path}.localhostProfile", found)
    elif local is not None:
        shown = go_value("core.SeccompProfile", profile)
        told = "can only be set when seccomp type is Localhost"
        found.append(causes.invalid(f"{path}.localhostProfile", shown, told))


def _app_armor(profile: Obj | None, path: str, found: Found) -> None:
    if profile is None:
        return
    type, local, where = (
        profile.get("type") or "",
        profile.get("localhostProfile"),
        f"{path}.localhostProfile",
    )
    needed = "must be set when AppArmor type is Localhost"
    if type == "Localhost":
        if local is None:
            found.append(causes.required(where, needed))
            return
        if local.strip() != local:
            found.append(causes.invalid(where, local, "must not be padded with whitespace"))
        elif not local:
            found.append(causes.required(where, needed))
        if len(local) > _PROFILE_LIMIT:
            found.append(causes.too_long(where, _PROFILE_LIMIT))
    elif type in ("RuntimeDefault", "Unconfined"):
        if local is not None:
            found.append(causes.invalid(where, local, "can only be set when AppArmor type is Localhost"))
    elif not type:
        found.append(causes.required(f"{path}.type", "type is required when appArmorProfile is set"))
    else:
        found.append(causes.not_supported(f"{path}.type", type, _SECCOMP_TYPES))


def _windows_options(options: Obj | None, path: str, found: Found) -> None:
    if options is None:
        return
    name, spec, user = (
        options.get(key) for key in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName")
    )
    if name is not None:
        named(name, f"{path}.gmsaCredentialSpecName", names.check_dns1123_subdomain, found)
    if spec == "":
        told = "gmsaCredentialSpec cannot be an empty string"
        found.append(causes.invalid(f"{path}.gmsaCredentialSpec", spec, told))
    elif spec is not None and len(spec) > _SPEC_LIMIT_KIB * 1024:
        told = f"gmsaCredentialSpec size must be under {_SPEC_LIMIT_KIB} KiB"
        found.append(causes.invalid(f"{path}.gmsaCredentialSpec", spec, told))
    if user is not None:
        found += [
            causes.invalid(f"{path}.runAsUserName", causes.Pointed(user), f"runAsUserName{problem}")
            for problem in _windows_user(user)
        ]


def _windows_user(name: str) -> list[str]:
    if not name:
        return [" cannot be an empty string"]
    if _control.search(name):
        return [" cannot contain control characters"]
    parts = name.split("\\")
    if len(parts) > 2:
        return [" cannot contain more than one backslash"]
    user, domain = parts[-1], parts[0] if len(parts) == 2 else None
    problems = []
    if domain is not None and len(domain) >= _DOMAIN_LIMIT:
        problems.append(f"'s Domain length must be under {_DOMAIN_LIMIT} characters")
    if domain is not None and not _net_bios.fullmatch(domain) and not _dns_domain.fullmatch(domain):
        problems.append("'s Domain doesn't match the NetBios nor the DNS format")
    if not user:
        problems.append("'s User cannot be empty")
    elif len(user) > _USER_LIMIT:
        problems.append(f"'s User length must not be longer than {_USER_LIMIT} characters")
    if _dots_and_spaces.fullmatch(user):
        problems.append("'s User cannot contain only periods or spaces")
    if _user_characters.search(user):
        problems.append("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return problems


def windows_host_process(spec: Obj, path: str, found: Found) -> None:
    """Either all containers are host processes, with the host's network, or none is."""
    contexts = [spec, *(container for container, _ in containers_with_paths(spec, ""))]
    if not any((one.get("securityContext") or {}).get("windowsOptions") for one in contexts):
        return
    pod = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    total = host = 0
    for container, where in containers_with_paths(spec, path):
        total += 1
        context = container.get("securityContext")
        own = ((context or {}).get("windowsOptions") or {}).get("hostProcess") if context else None
        if pod is not None and own is not None and pod != own:
            told = f"pod hostProcess value must be identical if both are specified, was {str(pod).lower()}"
            found.append(causes.invalid(f"{where}.securityContext.windowsOptions.hostProcess", own, told))
        host += bool(pod if own is None else own)
    if not host:
        return
    if host != total:
        told = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        found.append(causes.invalid(path, "", told))
    if not spec.get("hostNetwork"):
        told = "hostNetwork must be true if pod contains any hostProcess containers"
        found.append(causes.invalid(f"{path}.hostNetwork", False, told))


_POD_NOT_WINDOWS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser",
    "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy",
)  # fmt: skip
_CONTAINER_NOT_WINDOWS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip


def operating_system(spec: Obj, path: str, found: Found) -> None:
    """``spec.os`` and what must not be set for that system."""
    system = spec.get("os")
    if system is None:
        return
    name = system.get("name") or ""
    if not name:
        found.append(causes.required(f"{path}.os.name"))
    elif name not in ("linux", "windows"):
        found.append(causes.not_supported(f"{path}.os", name, ("linux", "windows")))
    elif name == "linux":
        _linux(spec, path, found)
    else:
        _windows(spec, path, found)


def _linux(spec: Obj, path: str, found: Found) -> None:
    told = "windows options cannot be set for a linux pod"
    if (spec.get("securityContext") or {}).get("windowsOptions") is not None:
        found.append(causes.forbidden(f"{path}.securityContext.windowsOptions", told))
    for container, where in containers_with_paths(spec, path):
        if (container.get("securityContext") or {}).get("windowsOptions") is not None:
            found.append(causes.forbidden(f"{where}.securityContext.windowsOptions", told))


def _windows(spec: Obj, path: str, found: Found) -> None:
    context = spec.get("securityContext") or {}
    for key in _POD_NOT_WINDOWS:
        value = context.get(key)
        if value is not None and (key != "sysctls" or value):
            found.append(causes.forbidden(f"{path}.securityContext.{key}", _NOT_WINDOWS))
    if spec.get("hostUsers") is not None:
        found.append(causes.forbidden(f"{path}.hostUsers", _NOT_WINDOWS))
    for key in ("hostPID", "hostIPC"):
        if spec.get(key):
            found.append(causes.forbidden(f"{path}.{key}", _NOT_WINDOWS))
    if spec.get("shareProcessNamespace") is not None:
        found.append(causes.forbidden(f"{path}.shareProcessNamespace", _NOT_WINDOWS))
    for container, where in containers_with_paths(spec, path):
        own = container.get("securityContext") or {}
        for key in _CONTAINER_NOT_WINDOWS:
            if own.get(key) is not None:
                found.append(causes.forbidden(f"{where}.securityContext.{key}", _NOT_WINDOWS))


def profile_annotations(annotations: dict[str, str], spec: Obj, path: str, found: Found) -> None:
    """The annotations that profiles had before they were fields."""
    if not any(key.startswith(_PROFILES) for key in annotations):
        return
    for key, profile in annotations.items():
        if key == _SECCOMP_POD or key.startswith(_SECCOMP_CONTAINER):
            _seccomp_name(profile, f"{path}.{key}", found)
    for key, profile in annotations.items():
        if key.startswith(_APP_ARMOR):
            name = key.removeprefix(_APP_ARMOR)
            if all(container.get("name") != name for container, _ in containers_with_paths(spec, "")):
                found.append(causes.invalid(f"{path}[{key}]", name, "container not found"))
            if profile not in ("", "runtime/default", "unconfined") and not profile.startswith("localhost/"):
                told = f'invalid AppArmor profile name: "{profile}"'
                found.append(causes.invalid(f"{path}[{key}]", profile, told))


def _seccomp_name(profile: str, path: str, found: Found) -> None:
    if profile in ("runtime/default", "docker/default", "unconfined"):
        return
    if profile.startswith("localhost/"):
        relative_path(profile.removeprefix("localhost/"), path, found)
    else:
        found.append(causes.invalid(path, profile, "must be a valid seccomp profile"))


def profiles_match_annotations(annotations: dict[str, str], spec: Obj, path: str, found: Found) -> None:
    """Where an annotation and a field tell a profile, they must tell the same."""
    if not any(key.startswith(_PROFILES) for key in annotations):
        return
    pod = spec.get("securityContext") or {}
    if _SECCOMP_POD in annotations and pod.get("seccompProfile") is not None:
        where = f"{path}.securityContext.seccompProfile"
        _same(annotations[_SECCOMP_POD], pod["seccompProfile"], where, "seccomp", found)
    for container, where in containers_with_paths(spec, path):
        own = (container.get("securityContext") or {}).get("seccompProfile")
        told = annotations.get(f"{_SECCOMP_CONTAINER}{container.get('name')}")
        if own is not None and told is not None:
            _same(told, own, f"{where}.securityContext.seccompProfile", "seccomp", found)
    if (spec.get("os") or {}).get("name") == "windows":
        return
    for container, where in containers_with_paths(spec, path):
        own = (container.get("securityContext") or {}).get("appArmorProfile") or pod.get("appArmorProfile")
        told = annotations.get(f"{_APP_ARMOR}{container.get('name')}")
        if own is not None and told is not None:
            _same(told, own, f"{where}.securityContext.appArmorProfile", "apparmor", found)


def _same(annotation: str, profile: Obj, path: str, what: str, found: Found) -> None:
    defaults = ("runtime/default", "docker/default") if what == "seccomp" else ("runtime/default",)
    type = profile.get("type")
    if type == "Localhost":
        matches = annotation.startswith("localhost/")
        if matches and annotation.removeprefix("localhost/") != profile.get("localhostProfile"):
            told = f"{what} profile in annotation and field must match"
            found.append(causes.forbidden(f"{path}.localhostProfile", told))
    elif type == "RuntimeDefault":
        matches = annotation in defaults
    else:
        matches = type != "Unconfined" or annotation == "unconfined"
    if not matches:
        found.append(causes.forbidden(f"{path}.type", f"{what} type in annotation and field must match"))
