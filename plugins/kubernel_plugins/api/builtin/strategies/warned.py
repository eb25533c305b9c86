"""What writers of built-in types are warned of, by kind.

Source: ``WarningsOnCreate`` and ``WarningsOnUpdate`` of k8s.io/kubernetes/pkg/registry (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kubernel.objects import quantity
from kubernel.objects.names import check_dns1123_label
from kubernel_plugins.api.builtin.strategies.addresses import warn_of_cidr, warn_of_ip
from kubernel_plugins.api.builtin.strategies.pod_warnings import (
    DEPRECATED_LABELS,
    claim_warnings,
    pod_warnings,
    selector_term_warnings,
)

__all__ = ["WARNINGS", "name_warnings"]

Obj = Mapping[str, Any]
Warned = Callable[[Obj, Obj | None], list[str]]
"""``(obj, old)``; old is None for a new object."""

_NAMES = "metadata.name: this is used in {}, which can result in surprising behavior; a DNS label is recommended: [{}]"
_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
_VOLUMES = {
    "cephfs": ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    "photonPersistentDisk": ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    "scaleIO": ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    "storageos": ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    "glusterfs": ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    "rbd": ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
}
_MANY_COMPLETIONS, _MUCH_PARALLELISM = 100_000, 10_000
_TOKENS = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible "
    "logging of tokens in volume attributes"
)
_MANAGED = "endpointslice.kubernetes.io/managed-by"
_OWN_SLICES = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
_OWN_ENDPOINTS = ("endpoints.kubernetes.io/managed-by", "endpoint-controller")
"""The label by which that controller's own are known, which writes addresses as they should be."""


def _generation(obj: Obj) -> Any:
    return obj["metadata"].get("generation")


def _template(obj: Obj) -> Any:
    return obj["spec"].get("template")


def name_warnings(obj: Obj, use: str = "Pod names and hostnames") -> list[str]:
    """Of a name that is no DNS label."""
    wrong = check_dns1123_label(obj["metadata"].get("name") or "")
    return [_NAMES.format(use, " ".join(wrong))] if wrong else []


def _templated(
    obj: Obj,
    old: Obj | None,
    *,
    named: bool = True,
    path: str = "spec.template",
    changes: Callable[[Obj], Any] = _generation,
) -> list[str]:
    found = name_warnings(obj) if named and old is None else []
    if old is None or changes(obj) != changes(old):
        place: Any = obj
        for part in path.split("."):
            place = place.get(part) or {}
        found += pod_warnings(place.get("metadata") or {}, place.get("spec") or {}, path)
    return found


def _stateful_set(obj: Obj, old: Obj | None) -> list[str]:
    found = _templated(obj, old, named=False)
    # In updates upstream's path has one name more.
    below = "" if old is None else ".Spec"
    for index, claim in enumerate(obj["spec"].get("volumeClaimTemplates") or ()):
        found += claim_warnings(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{index}]{below}")
    if (obj["spec"].get("revisionHistoryLimit") or 0) < 0:
        found.append(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
        )
    return found


def _job(obj: Obj, old: Obj | None) -> list[str]:
    found = name_warnings(obj) if old is None else []
    if old is None or _generation(obj) != _generation(old):
        found += _job_spec(obj["spec"], "spec")
    return found


def _cron_job(obj: Obj, old: Obj | None) -> list[str]:
    found = name_warnings(obj) if old is None else []
    if old is None or _generation(obj) != _generation(old):
        found += _job_spec((obj["spec"].get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    if old is not None and "TZ" in (obj["spec"].get("schedule") or ""):
        found.append(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see "
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    return found


def _job_spec(spec: Obj, path: str) -> list[str]:
    found: list[str] = []
    many = (spec.get("completions") or 0) > _MANY_COMPLETIONS
    if (
        spec.get("completionMode") == "Indexed"
        and many
        and (spec.get("parallelism") or 0) > _MUCH_PARALLELISM
    ):
        found.append(
            f"{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than "
            "10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    template: Obj = spec.get("template") or {}
    return found + pod_warnings(
        template.get("metadata") or {}, template.get("spec") or {}, f"{path}.template"
    )


def _service(obj: Obj, old: Obj | None) -> list[str]:
    spec: Obj = obj["spec"]
    type_, cluster_ip = spec.get("type"), spec.get("clusterIP") or ""
    addresses: list[str] = spec.get("clusterIPs") or []
    headless = addresses == ["None"]
    found: list[str] = []
    if "service.kubernetes.io/topology-aware-hints" in (obj["metadata"].get("annotations") or ()):
        found.append(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use "
            "service.kubernetes.io/topology-mode instead"
        )
    if cluster_ip not in ("", "None"):
        for index, address in enumerate(addresses):
            found += warn_of_ip(address, f"spec.clusterIPs[{index}]")
    external = spec.get("externalIPs") or ()
    if headless:
        if spec.get("loadBalancerIP"):
            found.append("spec.loadBalancerIP is ignored for headless services")
        if external:
            found.append("spec.externalIPs is ignored for headless services")
        if (spec.get("sessionAffinity") or "") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    for index, address in enumerate(external):
        found += warn_of_ip(address, f"spec.externalIPs[{index}]")
    if external and not headless and type_ != "ExternalName":
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP"):
        found += warn_of_ip(spec["loadBalancerIP"], "spec.loadBalancerIP")
    for index, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += warn_of_cidr(cidr, f"spec.loadBalancerSourceRanges[{index}]")
    if type_ == "ExternalName" and external:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if type_ != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def _volume(obj: Obj, old: Obj | None) -> list[str]:
    spec: Obj = obj["spec"]
    annotations = obj["metadata"].get("annotations") or ()
    found: list[str] = []
    for key, instead in (
        (_STORAGE_CLASS, 'deprecated since v1.8; use "storageClassName" attribute instead'),
        (
            "volume.beta.kubernetes.io/mount-options",
            'deprecated since v1.31; use "mountOptions" attribute instead',
        ),
    ):
        if key in annotations:
            found.append(f"metadata.annotations[{key}]: {instead}")
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        found.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended "
            "approach is to use dynamic provisioning."
        )
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
        found += selector_term_warnings(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]")
    return found + [f"spec.{called}: {text}" for kind, (called, text) in _VOLUMES.items() if kind in spec]


def _claim(obj: Obj, old: Obj | None) -> list[str]:
    found: list[str] = []
    if _STORAGE_CLASS in (obj["metadata"].get("annotations") or ()):
        found.append(
            f'metadata.annotations[{_STORAGE_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'
        )
    return found + claim_warnings(obj["spec"], "spec")


def _network_policy(obj: Obj, old: Obj | None) -> list[str]:
    found: list[str] = []
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(obj["spec"].get(direction) or ()):
            for place, peer in enumerate(rule.get(peers) or ()):
                block: Obj = peer.get("ipBlock") or {}
                path = f"spec.{direction}[{index}].{peers}[{place}].ipBlock"
                if block:
                    found += warn_of_cidr(block.get("cidr") or "", f"{path}.cidr")
                    for number, cidr in enumerate(block.get("except") or ()):
                        found += warn_of_cidr(cidr, f"{path}.except[{number}]")
    return found


def _node(obj: Obj, old: Obj | None) -> list[str]:
    spec: Obj = obj.get("spec") or {}
    found: list[str] = []
    if spec.get("configSource") is not None:
        found.append("spec.configSource: the feature is removed")
    if spec.get("externalID"):
        found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    for index, cidr in enumerate(spec.get("podCIDRs") or ()):
        found += warn_of_cidr(cidr, f"spec.podCIDRs[{index}]")
    return found


def _slice(obj: Obj, old: Obj | None) -> list[str]:
    found: list[str] = []
    if old is None and obj.get("addressType") == "FQDN":
        found.append("spec.addressType: FQDN endpoints are deprecated")
    if (obj["metadata"].get("labels") or {}).get(_MANAGED) in _OWN_SLICES:
        return found
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        for place, address in enumerate(endpoint.get("addresses") or ()):
            found += warn_of_ip(address, f"endpoints[{index}].addresses[{place}]")
    return found


def _endpoints(obj: Obj, old: Obj | None) -> list[str]:
    key, value = _OWN_ENDPOINTS
    if (obj["metadata"].get("labels") or {}).get(key) == value:
        return []
    return [
        text
        for index, subset in enumerate(obj.get("subsets") or ())
        for kind in ("addresses", "notReadyAddresses")
        for place, address in enumerate(subset.get(kind) or ())
        for text in warn_of_ip(address.get("ip") or "", f"subsets[{index}].{kind}[{place}].ip")
    ]


def _runtime_class(obj: Obj, old: Obj | None) -> list[str]:
    selector = (obj.get("scheduling") or {}).get("nodeSelector") or ()
    return [
        f"scheduling.nodeSelector: {DEPRECATED_LABELS[key]}" for key in selector if key in DEPRECATED_LABELS
    ]


def _storage_class(obj: Obj, old: Obj | None) -> list[str]:
    return [
        f"allowedTopologies[{index}].matchLabelExpressions[{place}].key: {DEPRECATED_LABELS[one['key']]}"
        for index, topology in enumerate(obj.get("allowedTopologies") or ())
        for place, one in enumerate(topology.get("matchLabelExpressions") or ())
        if one.get("key") in DEPRECATED_LABELS
    ]


def _capacity(obj: Obj, old: Obj | None) -> list[str]:
    topology: Obj = obj.get("nodeTopology") or {}
    found = list(selector_term_warnings(topology, "nodeTopology"))
    return found + [
        f"nodeTopology.matchLabels.{label}: {DEPRECATED_LABELS[label]}"
        for label in topology.get("matchLabels") or ()
        if label in DEPRECATED_LABELS
    ]


def _driver(obj: Obj, old: Obj | None) -> list[str]:
    if not obj["spec"].get("tokenRequests") or obj["spec"].get("serviceAccountTokenInSecrets") is not None:
        return []
    if old is not None and obj["spec"]["tokenRequests"] == old["spec"].get("tokenRequests"):
        return []
    return [_TOKENS]


def _quota(obj: Obj, old: Obj | None) -> list[str]:
    hard: Obj = obj["spec"].get("hard") or {}
    found: list[str] = []
    for name in ("cpu", "memory", "storage", "ephemeral-storage"):
        wanted = f"requests.{name}"
        if wanted not in hard and name in ("cpu", "memory"):
            wanted = name
        most = f"limits.{name}"
        if wanted in hard and most in hard and quantity.parse(hard[wanted]) > quantity.parse(hard[most]):
            told = quantity.canonical(hard[wanted]), quantity.canonical(hard[most])
            found.append(f"ResourceQuota {wanted} ({told[0]}) should be less than {most} ({told[1]})")
    return found


def _new(warned: Warned) -> Warned:
    """Of types whose updates warn of nothing."""
    return lambda obj, old: warned(obj, old) if old is None else []


WARNINGS: Mapping[tuple[str, str], Warned] = {
    ("", "PodTemplate"): partial(_templated, named=False, path="template"),
    ("", "ReplicationController"): _templated,
    ("apps", "Deployment"): _templated,
    ("apps", "ReplicaSet"): _templated,
    ("apps", "DaemonSet"): partial(_templated, named=False, changes=_template),
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "Service"): _service,
    ("", "PersistentVolume"): _volume,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Node"): _node,
    ("", "ResourceQuota"): _new(_quota),
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("discovery.k8s.io", "EndpointSlice"): _slice,
    ("", "Endpoints"): _endpoints,
    ("node.k8s.io", "RuntimeClass"): _runtime_class,
    ("storage.k8s.io", "StorageClass"): _storage_class,
    ("storage.k8s.io", "CSIStorageCapacity"): _capacity,
    ("storage.k8s.io", "CSIDriver"): _driver,
}
