"""Pods and pod templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernel.objects import names, quantity
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation import values
from kubernel_plugins.api.builtin.validation.addresses import ip_address
from kubernel_plugins.api.builtin.validation.containers import (
    Around,
    containers,
    ephemeral_containers,
    init_containers,
    untrimmed_images,
)
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.resources import (
    amount,
    container_requirements,
    is_huge_pages,
    pod_requirements,
)
from kubernel_plugins.api.builtin.validation.scheduling import (
    affinity,
    spread_constraints,
    tolerations,
)
from kubernel_plugins.api.builtin.validation.security import (
    containers_with_paths,
    operating_system,
    pod_security_context,
    profile_annotations,
    profiles_match_annotations,
    windows_host_process,
)
from kubernel_plugins.api.builtin.validation.values import MAX_INT32, Found, Obj, named
from kubernel_plugins.api.builtin.validation.volumes import pod_volumes
from kubernel_plugins.usage import pod_totals

__all__ = ["Lenient", "pod_create", "pod_metadata_and_spec", "pod_spec", "pod_template", "spec_stands_alone"]

_RESTARTS = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_MAX_NAME_SERVERS = 3
_MAX_SEARCHES = 32
_MAX_SEARCH_CHARACTERS = 2048
_HOSTNAME_LIMIT = 64
_MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_cost = re.compile(r"-?[0-9]+")
_UNDERSCORED = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORED_DOMAIN = rf"{_UNDERSCORED}(\.{_UNDERSCORED})*"
_underscored = re.compile(_UNDERSCORED_DOMAIN)


@dataclass(frozen=True, slots=True)
class Lenient:
    """Rules that came later than objects that break them: a stored object may go on breaking them."""

    label_values: bool = False
    node_label_values: bool = False
    spread_selectors: bool = False
    deletion_cost: bool = False


_STRICT = Lenient()


def pod_create(pod: Obj, *, spec_valid: bool = False) -> Found:
    """``spec_valid``: there is nothing wrong with the spec by itself."""
    found: Found = []
    spec = pod["spec"]
    if spec_valid:
        annotations = pod["metadata"].get("annotations")
        if annotations:
            _annotations(annotations, spec, "metadata.annotations", _STRICT, found)
            profiles_match_annotations(annotations, spec, "spec", found)
        return found
    pod_metadata_and_spec(pod, _STRICT, found)
    if spec.get("ephemeralContainers"):
        found.append(causes.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        told = "cannot be set until all schedulingGates have been cleared"
        found.append(causes.forbidden("spec.nodeName", told))
    annotations = pod["metadata"].get("annotations")
    if annotations:
        profiles_match_annotations(annotations, spec, "spec", found)
    return found


def spec_stands_alone(spec: Obj) -> bool:
    """Whether its validity has nothing to do with the pod's name and annotations."""
    return not spec.get("resourceClaims") and not any(
        volume.get("ephemeral") is not None for volume in spec.get("volumes") or ()
    )


def pod_metadata_and_spec(pod: Obj, lenient: Lenient, found: Found) -> None:
    meta, spec = pod["metadata"], pod["spec"]
    annotations = meta.get("annotations")
    if annotations:
        _annotations(annotations, spec, "metadata.annotations", lenient, found)
    pod_spec(spec, "spec", found, lenient, meta=meta)
    if not spec.get("serviceAccountName"):
        _tokens_without_account(spec, found)
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        found.append(causes.invalid("spec.terminationGracePeriodSeconds", grace, values.NEGATIVE))
    untrimmed_images(spec, "spec", found)


def _tokens_without_account(spec: Obj, found: Found) -> None:
    for index, volume in enumerate(spec.get("volumes") or ()):
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                where = f"spec.volumes[{index}].projected.sources[{number}].serviceAccountToken"
                told = "must not be specified when serviceAccountName is not set"
                found.append(causes.forbidden(where, told))


def _annotations(
    annotations: Mapping[str, str], spec: Obj, path: str, lenient: Lenient, found: Found
) -> None:
    if _MIRROR in annotations and not spec.get("nodeName"):
        told = "must set spec.nodeName if mirror pod annotation is set"
        found.append(causes.invalid(f"{path}[{_MIRROR}]", annotations[_MIRROR], told))
    cost = annotations.get(_DELETION_COST)
    if cost is not None and not lenient.deletion_cost and not is_deletion_cost(cost):
        found.append(causes.invalid(f"{path}[{_DELETION_COST}]", cost, "must be a 32bit integer"))
    profile_annotations(dict(annotations), spec, path, found)


def is_deletion_cost(text: str) -> bool:
    if not _cost.fullmatch(text) or (text[0] == "0" and text != "0"):
        return False
    return -(2**31) <= int(text) <= MAX_INT32


def pod_template(template: Obj, path: str, found: Found, lenient: Lenient = _STRICT) -> None:
    """A template in another object, at ``path``."""
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    # Upstream leaves "metadata" out of these paths.
    values.labels(meta.get("labels"), f"{path}.labels", found)
    annotations = meta.get("annotations")
    if annotations:
        values.annotation_keys(annotations, f"{path}.annotations", found)
        _annotations(annotations, spec, f"{path}.annotations", lenient, found)
    pod_spec(spec, f"{path}.spec", found, lenient)
    if annotations:
        profiles_match_annotations(annotations, spec, f"{path}.spec", found)
    if spec.get("ephemeralContainers"):
        told = "ephemeral containers not allowed in pod template"
        found.append(causes.forbidden(f"{path}.spec.ephemeralContainers", told))


def pod_spec(
    spec: Obj, path: str, found: Found, lenient: Lenient = _STRICT, *, meta: Mapping[str, Any] | None = None
) -> None:
    """``meta`` is the metadata of a pod; None in a template."""
    get = spec.get
    grace = get("terminationGracePeriodSeconds")
    if grace is None:
        found.append(causes.required(f"{path}.terminationGracePeriodSeconds"))
    volumes: dict[str, Obj] = {}
    if listed := get("volumes"):
        pod_name = (meta.get("name") or "") if meta else ""
        volumes = pod_volumes(listed, pod_name, f"{path}.volumes", found)
    claims: set[str] = set()
    if listed := get("resourceClaims"):
        claims = {claim["name"] for claim in listed if claim.get("name")}
        _resource_claims(listed, f"{path}.resourceClaims", meta, found)
    around = Around(spec, volumes, claims, grace, get("hostUsers") is not False, [])
    containers(spec, path, around, found)
    if get("initContainers"):
        init_containers(spec, path, around, found)
    if get("ephemeralContainers"):
        ephemeral_containers(spec, path, around, found)
    if get("resources") is not None:
        _pod_resources(spec, claims, path, found)
    if get("hostNetwork"):
        _host_network_ports(spec, f"{path}.containers", meta is not None, found)
    _choice(get("restartPolicy"), f"{path}.restartPolicy", _RESTARTS, found)
    _choice(get("dnsPolicy"), f"{path}.dnsPolicy", _DNS_POLICIES, found)
    if selector := get("nodeSelector"):
        values.labels(selector, f"{path}.nodeSelector", found)
    if context := get("securityContext"):
        pod_security_context(context, spec, f"{path}.securityContext", found)
    if get("shareProcessNamespace") and get("hostPID"):
        told = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(causes.invalid(f"{path}.shareProcessNamespace", True, told))
    if (wanted := get("affinity")) is not None:
        affinity(wanted, f"{path}.affinity", lenient.label_values, lenient.node_label_values, found)
    if get("dnsConfig") is not None or get("dnsPolicy") == "None":
        _dns(get("dnsConfig"), get("dnsPolicy"), f"{path}.dnsConfig", found)
    for index, gate in enumerate(get("readinessGates") or ()):
        where = f"{path}.readinessGates[{index}].conditionType"
        named(gate.get("conditionType") or "", where, names.check_qualified_name, found)
    if gates := get("schedulingGates"):
        _scheduling_gates(gates, f"{path}.schedulingGates", found)
    if constraints := get("topologySpreadConstraints"):
        where = f"{path}.topologySpreadConstraints"
        spread_constraints(constraints, where, lenient.spread_selectors, found)
    windows_host_process(spec, path, found)
    if get("hostUsers") is False:
        _own_users(spec, path, found)
    if get("hostnameOverride") is not None:
        _hostname_override(spec, path, found)
    _names(spec, path, found)
    if listed := get("tolerations"):
        tolerations(listed, f"{path}.tolerations", found)
    for index, alias in enumerate(get("hostAliases") or ()):
        where = f"{path}.hostAliases[{index}]"
        ip_address(alias.get("ip") or "", f"{where}.ip", found)
        for number, name in enumerate(alias.get("hostnames") or ()):
            named(name, f"{where}.hostnames[{number}]", names.check_dns1123_subdomain, found)
    if (name := get("priorityClassName")) and name != "":
        named(name, f"{path}.priorityClassName", names.check_dns1123_subdomain, found)
    if (name := get("runtimeClassName")) is not None:
        named(name, f"{path}.runtimeClassName", names.check_dns1123_subdomain, found)
    if get("preemptionPolicy") is not None:
        _choice(get("preemptionPolicy"), f"{path}.preemptionPolicy", _PREEMPTION, found)
    if get("overhead") is not None:
        container_requirements({"limits": get("overhead")}, f"{path}.overhead", (), found)
    operating_system(spec, path, found)
    if (group := get("schedulingGroup")) is not None:
        where, name = f"{path}.schedulingGroup.podGroupName", group.get("podGroupName")
        if name is None:
            found.append(causes.invalid(where, None, "must specify one of: `podGroupName`"))
        else:
            named(name, where, names.check_dns1123_subdomain, found)
    _files_of_variables(spec, around.variable_files, found)


def _choice(value: Any, path: str, supported: tuple[str, ...], found: Found) -> None:
    if value in supported:
        return
    if not value:
        found.append(causes.required(path))
    else:
        found.append(causes.not_supported(path, value, supported))


def _names(spec: Obj, path: str, found: Found) -> None:
    get = spec.get
    account = get("serviceAccountName") or ""
    if account:
        named(account, f"{path}.serviceAccountName", names.check_dns1123_subdomain, found)
    if (get("serviceAccount") or "") != account:
        told = f'must be the same as serviceAccountName: "{account}"'
        found.append(causes.invalid(f"{path}.deprecatedServiceAccount", get("serviceAccount") or "", told))
    if node := get("nodeName"):
        named(node, f"{path}.nodeName", names.check_dns1123_subdomain, found)
    if (deadline := get("activeDeadlineSeconds")) is not None:
        values.between(deadline, f"{path}.activeDeadlineSeconds", 1, MAX_INT32, found)
    for key in ("hostname", "subdomain"):
        if name := get(key):
            named(name, f"{path}.{key}", names.check_dns1123_label, found)


def _resource_claims(listed: Iterable[Obj], path: str, meta: Mapping[str, Any] | None, found: Found) -> None:
    taken: set[str] = set()
    for index, claim in enumerate(listed):
        if meta is not None and _MIRROR in (meta.get("annotations") or ()):
            found.append(causes.forbidden("[]", "static pods do not support resource claims"))
            continue
        where, name = f"{path}[{index}]", claim.get("name") or ""
        if not name:
            found.append(causes.required(f"{where}.name"))
        elif name in taken:
            found.append(causes.duplicate(f"{where}.name", name))
        else:
            named(name, f"{where}.name", names.check_dns1123_label, found)
            taken.add(name)
        given = [
            key for key in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(key) is not None
        ]
        if len(given) != 1:
            told = (
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
                if given
                else "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            )
            found.append(causes.invalid(where, go_value("core.PodResourceClaim", claim), told))
        for key in given:
            named(claim[key], f"{where}.{key}", names.check_dns1123_subdomain, found)


def _pod_resources(spec: Obj, claims: Iterable[str], path: str, found: Found) -> None:
    resources, where = spec["resources"], f"{path}.resources"
    if (spec.get("os") or {}).get("name") == "windows":
        found.append(causes.forbidden(where, "may not be set for a windows pod"))
        return
    if resources.get("claims") is not None:
        told = "claims may not be set for Resources at pod-level"
        found.append(causes.forbidden(f"{where}.claims", told))
    pod_requirements(resources, where, claims, found)
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    bare = {key: spec.get(key) for key in ("containers", "initContainers")}
    for name, needed in pod_totals(bare, "requests").items() if requests else ():
        if name in requests and amount(needed) > amount(requests[name]):
            told = f"must be greater than or equal to aggregate container requests of {needed}"
            shown = quantity.canonical(requests[name])
            found.append(causes.invalid(f"{where}.requests[{name}]", shown, told))
    for name, needed in pod_totals(bare, "limits").items() if limits else ():
        if is_huge_pages(name) and name in limits and amount(needed) > amount(limits[name]):
            told = f"must be greater than or equal to aggregate container limits of {needed}"
            shown = quantity.canonical(limits[name])
            found.append(causes.invalid(f"{where}.limits[{name}]", shown, told))
    for index, container in enumerate(spec.get("containers") or ()):
        for name, limit in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and amount(limit) > amount(limits[name]):
                told = f"must be less than or equal to pod limits of {quantity.canonical(limits[name])}"
                at = f"{where}.containers[{index}][{name}].limits"
                found.append(causes.invalid(at, quantity.canonical(limit), told))


def _host_network_ports(spec: Obj, path: str, is_pod: bool, found: Found) -> None:
    for index, container in enumerate(spec.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort") or 0
            if (is_pod or host) and host != (port.get("containerPort") or 0):
                told = "must match `containerPort` when `hostNetwork` is true"
                found.append(causes.invalid(f"{path}[{index}].ports[{number}].hostPort", host, told))


def _dns(config: Obj | None, policy: str | None, path: str, found: Found) -> None:
    if policy == "None":
        if config is None:
            told = "must provide `dnsConfig` when `dnsPolicy` is None"
            found.append(causes.required(path, told))
            return
        if not config.get("nameservers"):
            told = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            found.append(causes.required(f"{path}.nameservers", told))
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > _MAX_NAME_SERVERS:
        told = f"must not have more than {_MAX_NAME_SERVERS} nameservers"
        found.append(causes.invalid(f"{path}.nameservers", servers, told))
    for index, server in enumerate(servers):
        ip_address(server, f"{path}.nameservers[{index}]", found)
    if len(searches) > _MAX_SEARCHES:
        told = f"must not have more than {_MAX_SEARCHES} search paths"
        found.append(causes.invalid(f"{path}.searches", searches, told))
    if len(" ".join(searches)) > _MAX_SEARCH_CHARACTERS:
        told = f"must not have more than {_MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        found.append(causes.invalid(f"{path}.searches", searches, told))
    for index, search in enumerate(searches):
        if search != ".":
            named(search.removesuffix("."), f"{path}.searches[{index}]", _search_problems, found)
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(causes.required(f"{path}.options[{index}]", "must not be empty"))


def _search_problems(value: str) -> list[str]:
    problems = ["must be no more than 253 characters"] if len(value) > 253 else []
    if not _underscored.fullmatch(value):
        problems.append(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
            "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation "
            f"is '{_UNDERSCORED_DOMAIN}')"
        )
    return problems


def _scheduling_gates(gates: Iterable[Obj], path: str, found: Found) -> None:
    taken: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name") or ""
        named(name, f"{path}[{index}]", names.check_qualified_name, found)
        if name in taken:
            found.append(causes.duplicate(f"{path}[{index}]", name))
        taken.add(name)


def _own_users(spec: Obj, path: str, found: Found) -> None:
    told = "when `hostUsers` is false"
    for key, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(key):
            found.append(causes.forbidden(f"{path}.{shown}", told))
    for container, where in containers_with_paths(spec, path):
        if container.get("volumeDevices"):
            found.append(causes.forbidden(f"{where}.volumeDevices", told))


def _hostname_override(spec: Obj, path: str, found: Found) -> None:
    where, name = f"{path}.hostnameOverride", spec["hostnameOverride"]
    for key in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(key):
            found.append(causes.forbidden(where, f"may not be specified when {key} is true"))
    if len(name) > _HOSTNAME_LIMIT:
        found.append(causes.too_long(where, _HOSTNAME_LIMIT))
    named(name, where, names.check_dns1123_subdomain, found)


def _files_of_variables(spec: Obj, files: Iterable[tuple[str, str]], found: Found) -> None:
    """A variable from a file is read from an emptyDir."""
    for name, path in files:
        volume = next((one for one in spec.get("volumes") or () if one.get("name") == name), None)
        if volume is None:
            found.append(causes.not_found(path, name))
        elif volume.get("emptyDir") is None:
            found.append(causes.invalid(path, name, "referenced volume must be of type emptyDir"))
