"""Nodes, access rights, priorities, networks: types with a rule or two each."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.validation import limits, nodes, services, values

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = [
    "DisruptionBudgetStrategy",
    "EndpointsStrategy",
    "IngressStrategy",
    "LeaseStrategy",
    "LimitRangeStrategy",
    "NetworkPolicyStrategy",
    "NodeStrategy",
    "PriorityClassStrategy",
    "ResourceQuotaStrategy",
    "RoleBindingStrategy",
    "RoleStrategy",
    "ServiceCIDRStrategy",
]

Obj = dict[str, Any]

_NODE_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)
_SYSTEM_PRIORITY = 2_000_000_000
_USER_PRIORITY = 1_000_000_000


class NodeStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(thorough=True)

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        status = obj.setdefault("status", {})
        if isinstance(status, dict):
            # In Go these are structs: never absent.
            status.setdefault("daemonEndpoints", {"kubeletEndpoint": {"Port": 0}})
            if status.get("nodeInfo") is None:
                status["nodeInfo"] = dict.fromkeys(_NODE_INFO, "")
        if isinstance(status, dict) and status.get("capacity") and status.get("allocatable") is None:
            status["allocatable"] = dict(status["capacity"])
        if isinstance(spec, dict):
            # An older client knows the first range alone.
            if spec.get("podCIDR") and not spec.get("podCIDRs"):
                spec["podCIDRs"] = [spec["podCIDR"]]
            elif spec.get("podCIDRs"):
                spec["podCIDR"] = spec["podCIDRs"][0]

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        """A kubelet registers itself together with its status."""
        (obj.get("spec") or {}).pop("configSource", None)
        (obj.get("status") or {}).pop("config", None)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return nodes.node(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return nodes.node_update(obj, old)


class PriorityClassStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, create_on_update=True)

    def default(self, obj: Obj) -> None:
        obj.setdefault("value", 0)
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        name, value = obj["metadata"].get("name") or "", obj.get("value") or 0
        if name.startswith("system-"):
            known = {"system-node-critical": 2_000_001_000, "system-cluster-critical": _SYSTEM_PRIORITY}
            if known.get(name) != value:
                return [
                    causes.forbidden(
                        "metadata.name",
                        "priority class names with 'system-' prefix are reserved for system use only",
                    )
                ]
        elif value > _USER_PRIORITY:
            return [
                causes.forbidden(
                    "value", f"maximum allowed value of a user defined priority is {_USER_PRIORITY}"
                )
            ]
        return []

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found = []
        if (obj.get("value") or 0) != (old.get("value") or 0):
            found.append(causes.forbidden("value", "may not be changed in an update."))
        if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
            found.append(
                causes.invalid("preemptionPolicy", obj.get("preemptionPolicy"), causes.FIELD_IMMUTABLE)
            )
        return found


class RoleStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        namespaced = request.type.namespaced
        for index, rule in enumerate(obj.get("rules") or ()):
            path = f"rules[{index}]"
            if not rule.get("verbs"):
                found.append(causes.required(f"{path}.verbs", "verbs must contain at least one value"))
            urls = rule.get("nonResourceURLs")
            if urls:
                if namespaced:
                    found.append(
                        causes.invalid(
                            f"{path}.nonResourceURLs",
                            urls,
                            "namespaced rules cannot apply to non-resource URLs",
                        )
                    )
                if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                    found.append(
                        causes.invalid(
                            f"{path}.nonResourceURLs",
                            urls,
                            "rules cannot apply to both regular resources and non-resource URLs",
                        )
                    )
                continue
            if not rule.get("apiGroups"):
                found.append(
                    causes.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
                )
            if not rule.get("resources"):
                found.append(
                    causes.required(f"{path}.resources", "resource rules must supply at least one resource")
                )
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self.validate_create(request, obj)


_SUBJECT_GROUPS = {
    "ServiceAccount": "",
    "User": "rbac.authorization.k8s.io",
    "Group": "rbac.authorization.k8s.io",
}


class RoleBindingStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True)

    def default(self, obj: Obj) -> None:
        reference = obj.get("roleRef")
        if isinstance(reference, dict) and not reference.get("apiGroup"):
            reference["apiGroup"] = "rbac.authorization.k8s.io"
        for subject in obj.get("subjects") or ():
            if isinstance(subject, dict) and not subject.get("apiGroup"):
                group = _SUBJECT_GROUPS.get(subject.get("kind") or "")
                if group:
                    subject["apiGroup"] = group

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found = []
        role = obj.get("roleRef") or {}
        kinds = ("Role", "ClusterRole") if request.type.namespaced else ("ClusterRole",)
        if role.get("apiGroup") not in ("rbac.authorization.k8s.io", None):
            found.append(
                causes.not_supported("roleRef.apiGroup", role["apiGroup"], ["rbac.authorization.k8s.io"])
            )
        if role.get("kind") not in kinds:
            found.append(causes.not_supported("roleRef.kind", role.get("kind") or "", kinds))
        if not role.get("name"):
            found.append(causes.required("roleRef.name"))
        for index, subject in enumerate(obj.get("subjects") or ()):
            path = f"subjects[{index}]"
            kind = subject.get("kind") or ""
            if kind not in _SUBJECT_GROUPS:
                found.append(causes.not_supported(f"{path}.kind", kind, _SUBJECT_GROUPS))
            elif (subject.get("apiGroup") or "") != _SUBJECT_GROUPS[kind]:
                found.append(
                    causes.not_supported(f"{path}.apiGroup", subject.get("apiGroup"), [_SUBJECT_GROUPS[kind]])
                )
            if not subject.get("name"):
                found.append(causes.required(f"{path}.name"))
            if kind == "ServiceAccount" and not subject.get("namespace") and not request.type.namespaced:
                found.append(causes.required(f"{path}.namespace"))
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found = self.validate_create(request, obj)
        if obj.get("roleRef") != old.get("roleRef"):
            found.append(causes.invalid("roleRef", obj.get("roleRef"), "cannot change roleRef"))
        return found


class LeaseStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True, unconditional_update=False)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        found = []
        duration = spec.get("leaseDurationSeconds")
        if duration is not None and duration <= 0:
            found.append(causes.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
        values.not_negative(spec, "spec", found, "leaseTransitions")
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self.validate_create(request, obj)


class LimitRangeStrategy(Builtin):
    """Defaults of container limits follow from max, default and min (SetDefaults_LimitRangeItem)."""

    def __init__(self) -> None:
        super().__init__(create_on_update=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return limits.limit_range(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return limits.limit_range(obj)

    def default(self, obj: Obj) -> None:
        for item in field(obj, "spec", "limits") or ():
            if not isinstance(item, dict) or item.get("type") != "Container":
                continue
            limits = {**(item.get("max") or {}), **(item.get("default") or {})}
            requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
            if limits:
                item["default"] = limits
            if requests:
                item["defaultRequest"] = requests


class ResourceQuotaStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(returns=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return limits.quota(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return limits.quota_status(obj) if request.subresource == "status" else limits.quota_update(obj, old)


class EndpointsStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return services.endpoints(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return services.endpoints(obj, old)

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        return ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"]


class NetworkPolicyStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True)

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        values.label_selector(field(obj, "spec", "podSelector"), "spec.podSelector", found)
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self.validate_create(request, obj)


class IngressStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True)

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"loadBalancer": {}}

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        found = []
        if not spec.get("rules") and not spec.get("defaultBackend"):
            found.append(causes.invalid("spec", {}, "either `defaultBackend` or `rules` must be specified"))
        for index, rule in enumerate(spec.get("rules") or ()):
            for number, path in enumerate(field(rule, "http", "paths") or ()):
                where = f"spec.rules[{index}].http.paths[{number}]"
                kind = path.get("pathType")
                if not kind:
                    found.append(causes.required(f"{where}.pathType", "pathType must be specified"))
                elif kind in ("Exact", "Prefix") and not (path.get("path") or "").startswith("/"):
                    found.append(
                        causes.invalid(f"{where}.path", path.get("path") or "", "must be an absolute path")
                    )
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return [] if request.subresource == "status" else self.validate_create(request, obj)


class DisruptionBudgetStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, unconditional_update=False)

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return dict.fromkeys(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), 0)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            shown = {key: spec[key] for key in ("minAvailable", "maxUnavailable")}
            return [causes.invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set")]
        found: list[Cause] = []
        for key in ("minAvailable", "maxUnavailable"):
            values.percent_or_count(spec.get(key), f"spec.{key}", found)
        values.label_selector(spec.get("selector"), "spec.selector", found)
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return [] if request.subresource == "status" else self.validate_create(request, obj)


class ServiceCIDRStrategy(Builtin):
    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        cidrs = field(obj, "spec", "cidrs") or []
        if not cidrs:
            return [causes.required("spec.cidrs", "at least one CIDR required")]
        found = []
        for index, cidr in enumerate(cidrs):
            try:
                ip_network(cidr)
            except ValueError:
                found.append(
                    causes.invalid(
                        f"spec.cidrs[{index}]",
                        cidr,
                        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                    )
                )
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return []
        before, now = field(old, "spec", "cidrs") or [], field(obj, "spec", "cidrs") or []
        if now[: len(before)] != before:
            return [causes.invalid("spec.cidrs", now, causes.FIELD_IMMUTABLE)]
        return self.validate_create(request, obj)
