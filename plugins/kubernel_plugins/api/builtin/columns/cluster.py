"""Columns of nodes, namespaces, configuration, access rights and the rest of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernel.registry.types import Column
from kubernel_plugins.api.builtin.columns.common import (
    AGE,
    NAME,
    NAME_AGE,
    Obj,
    at,
    count,
    human_duration,
    integer,
    since,
    text,
)

__all__ = [
    "CERTIFICATE_SIGNING_REQUEST",
    "CLUSTER_ROLE_BINDING",
    "CLUSTER_TRUST_BUNDLE",
    "COMPONENT_STATUS",
    "CONFIG_MAP",
    "CUSTOM_RESOURCE_DEFINITION",
    "DEVICE_TAINT_RULE",
    "EVENT",
    "FLOW_SCHEMA",
    "LEASE",
    "NAMESPACE",
    "NODE",
    "POD_CERTIFICATE_REQUEST",
    "PRIORITY_CLASS",
    "PRIORITY_LEVEL",
    "RESOURCE_CLAIM",
    "RESOURCE_QUOTA",
    "RESOURCE_SLICE",
    "ROLE_BINDING",
    "RUNTIME_CLASS",
    "SECRET",
    "SERVICE_ACCOUNT",
    "STORAGE_VERSION_MIGRATION",
]

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _node_status(obj: Obj, now: float) -> str:
    shown = "Unknown"
    for condition in at(obj, "status", "conditions") or ():
        if condition.get("type") == "Ready":
            shown = "Ready" if condition.get("status") == "True" else "NotReady"
    return f"{shown},SchedulingDisabled" if at(obj, "spec", "unschedulable") else shown


def _node_roles(obj: Obj, now: float) -> str:
    roles = set()
    for key, value in (at(obj, "metadata", "labels") or {}).items():
        if key.startswith(_ROLE_PREFIX):
            roles.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL:
            roles.add(value)
    return ",".join(sorted(roles - {""})) or "<none>"


def _address(type: str) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        for address in at(obj, "status", "addresses") or ():
            if address.get("type") == type:
                return str(address.get("address", ""))
        return "<none>"

    return cell


def _config_entries(obj: Obj, now: float) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


def _event_times(obj: Obj, now: float) -> tuple[str, str]:
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    if obj.get("series"):
        last = obj["series"].get("lastObservedTime")
    return since(first, now), since(last, now)


def _event_last(obj: Obj, now: float) -> str:
    return _event_times(obj, now)[1]


def _event_first(obj: Obj, now: float) -> str:
    return _event_times(obj, now)[0]


def _event_target(obj: Obj) -> dict[str, Any]:
    return obj.get("involvedObject") or obj.get("regarding") or {}


def _event_object(obj: Obj, now: float) -> str:
    target = _event_target(obj)
    kind = target.get("kind", "").lower()
    return f"{kind}/{target['name']}" if target.get("name") else kind


def _event_subobject(obj: Obj, now: float) -> str:
    return str(_event_target(obj).get("fieldPath", ""))


def _event_source(obj: Obj, now: float) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = (
        source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    )
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else str(component)


def _event_message(obj: Obj, now: float) -> str:
    return str(obj.get("message") or obj.get("note") or "").strip()


def _event_count(obj: Obj, now: float) -> int:
    series = obj.get("series")
    if series:
        return int(series.get("count", 0))
    return int(obj.get("count") or obj.get("deprecatedCount") or 1)


def _role(obj: Obj, now: float) -> str:
    return f"{at(obj, 'roleRef', 'kind')}/{at(obj, 'roleRef', 'name')}"


def _subjects(kind: str) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        shown = []
        for subject in obj.get("subjects") or ():
            if subject.get("kind") == kind:
                name = subject.get("name", "")
                shown.append(f"{subject.get('namespace', '')}/{name}" if kind == "ServiceAccount" else name)
        return ", ".join(shown)

    return cell


def _binding_columns(kind: str) -> tuple[Column, ...]:
    return (
        NAME,
        Column("Role", _role, description="The role that is granted."),
        AGE,
        Column("Users", _subjects("User"), description=f"Users in the {kind}", priority=1),
        Column("Groups", _subjects("Group"), description=f"Groups in the {kind}", priority=1),
        Column(
            "ServiceAccounts",
            _subjects("ServiceAccount"),
            description=f"ServiceAccounts in the {kind}",
            priority=1,
        ),
    )


def _csr_condition(obj: Obj, now: float) -> str:
    types = {condition.get("type") for condition in at(obj, "status", "conditions") or ()}
    shown = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    if "Failed" in types:
        shown += ",Failed"
    return f"{shown},Issued" if at(obj, "status", "certificate") else shown


def _certificate_state(obj: Obj, now: float) -> str:
    """Issued, Denied or Failed: no request is two of them."""
    types = [condition.get("type") for condition in at(obj, "status", "conditions") or ()]
    return next((one for one in reversed(types) if one in ("Issued", "Denied", "Failed")), "Pending")


def _user_annotations(obj: Obj, now: float) -> str:
    told = at(obj, "spec", "unverifiedUserAnnotations") or {}
    return ",".join(f"{key}={told[key]}" for key in sorted(told)) or "<none>"


def _csr_duration(obj: Obj, now: float) -> str:
    wanted = at(obj, "spec", "expirationSeconds")
    return "<none>" if wanted is None else human_duration(wanted)


def _quota(limits: bool) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        hard = at(obj, "status", "hard") or {}
        used = at(obj, "status", "used") or {}
        return ", ".join(
            f"{name}: {used.get(name, '0')}/{hard[name]}"
            for name in sorted(hard)
            if name.startswith("limits.") == limits
        )

    return cell


def _healthy(field: str) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        for condition in obj.get("conditions") or ():
            if condition.get("type") == "Healthy":
                if field == "status":
                    return "Healthy" if condition.get("status") == "True" else "Unhealthy"
                return str(condition.get(field, ""))
        return "Unknown" if field == "status" else ""

    return cell


def _global_default(obj: Obj, now: float) -> bool:
    return bool(obj.get("globalDefault"))


def _dangling(obj: Obj, now: float) -> str:
    for condition in at(obj, "status", "conditions") or ():
        if condition.get("type") == "Dangling":
            return str(condition.get("status", ""))
    return "?"


def _limited(*path: str) -> Callable[[Obj, float], Any]:
    def cell(obj: Obj, now: float) -> Any:
        value = at(obj, "spec", "limited", *path)
        return "<none>" if value is None else value

    return cell


def _claim_state(obj: Obj, now: float) -> str:
    deleted = bool(at(obj, "metadata", "deletionTimestamp"))
    states = ["deleted"] if deleted else []
    if at(obj, "status", "allocation") is not None:
        states.append("allocated")
        if at(obj, "status", "reservedFor"):
            states.append("reserved")
    elif not deleted:
        states.append("pending")
    return ",".join(states)


def _migrated(obj: Obj, now: float) -> str:
    resource = at(obj, "spec", "resource") or {}
    return ".".join(part for part in (resource.get("resource"), resource.get("group")) if part)


def _migration_state(obj: Obj, now: float) -> str:
    """The condition that is true, the last word first."""
    true = _true_conditions(obj)
    return next((state for state in ("Succeeded", "Failed", "Running") if state in true), "Pending")


def _true_conditions(obj: Obj) -> set[str]:
    conditions = at(obj, "status", "conditions") or ()
    return {each["type"] for each in conditions if each.get("status") == "True"}


def _established(obj: Obj, now: float) -> bool:
    return "Established" in _true_conditions(obj)


def _versions(obj: Obj, now: float) -> str:
    return ",".join(
        version["name"] + ("(storage)" if version.get("storage") else "")
        for version in at(obj, "spec", "versions") or ()
    )


NODE = (
    NAME,
    Column("Status", _node_status, description="Whether it is ready."),
    Column("Roles", _node_roles, description="Its roles, from its labels."),
    AGE,
    Column("Version", text("status", "nodeInfo", "kubeletVersion"), description="Its kubelet's version."),
    Column("Internal-IP", _address("InternalIP"), priority=1),
    Column("External-IP", _address("ExternalIP"), priority=1),
    Column("OS-Image", text("status", "nodeInfo", "osImage", absent="<unknown>"), priority=1),
    Column("Kernel-Version", text("status", "nodeInfo", "kernelVersion", absent="<unknown>"), priority=1),
    Column(
        "Container-Runtime",
        text("status", "nodeInfo", "containerRuntimeVersion", absent="<unknown>"),
        priority=1,
    ),
)
NAMESPACE = (NAME, Column("Status", text("status", "phase"), description="Active or Terminating."), AGE)
CONFIG_MAP = (NAME, Column("Data", _config_entries, description="How many entries it has."), AGE)
SECRET = (
    NAME,
    Column("Type", text("type"), description="What kind of secret it is."),
    Column("Data", count("data"), description="How many entries it has."),
    AGE,
)
SERVICE_ACCOUNT = NAME_AGE
EVENT = (
    Column("Last Seen", _event_last, description="When it was last seen."),
    Column("Type", text("type"), description="Normal or Warning."),
    Column("Reason", text("reason"), description="Why this happened."),
    Column("Object", _event_object, description="The object it is about."),
    Column("Subobject", _event_subobject, description="The part of the object.", priority=1),
    Column("Source", _event_source, description="Who reports it.", priority=1),
    Column("Message", _event_message, description="What happened."),
    Column("First Seen", _event_first, description="When it was first seen.", priority=1),
    Column("Count", _event_count, description="How often it was seen.", priority=1),
    Column("Name", NAME.value, format="name", description=NAME.description, priority=1),
)
RESOURCE_QUOTA = (
    NAME,
    Column(
        "Request",
        _quota(limits=False),
        description="What is used of the quota.",
    ),
    Column(
        "Limit",
        _quota(limits=True),
        description="What is used of the quota for limits.",
    ),
    AGE,
)
COMPONENT_STATUS = (
    NAME,
    Column("Status", _healthy("status"), description="Healthy or not."),
    Column("Message", _healthy("message"), description="What it says."),
    Column("Error", _healthy("error"), description="What is wrong."),
)
ROLE_BINDING = _binding_columns("roleBinding")
CLUSTER_ROLE_BINDING = _binding_columns("clusterRoleBinding")
CERTIFICATE_SIGNING_REQUEST = (
    NAME,
    AGE,
    Column("SignerName", text("spec", "signerName", absent="<none>"), description="The requested signer."),
    Column("Requestor", text("spec", "username"), description="Who asked."),
    Column("RequestedDuration", _csr_duration, description="How long the certificate should be valid."),
    Column("Condition", _csr_condition, description="What became of the request."),
)
POD_CERTIFICATE_REQUEST = (
    NAME,
    Column("PodName", text("spec", "podName"), description="The pod that asks."),
    Column("ServiceAccountName", text("spec", "serviceAccountName"), description="Whom the pod runs as."),
    Column("NodeName", text("spec", "nodeName"), description="Where the pod runs."),
    Column("SignerName", text("spec", "signerName"), description="The requested signer."),
    Column("State", _certificate_state, description="What became of the request."),
    Column("UnverifiedUserAnnotations", _user_annotations, description="What the pod's owner says."),
)
CLUSTER_TRUST_BUNDLE = (
    NAME,
    Column(
        "SignerName", text("spec", "signerName", absent="<none>"), description="The signer, if it has one."
    ),
)
LEASE = (NAME, Column("Holder", text("spec", "holderIdentity"), description="The holder of the lease."), AGE)
PRIORITY_CLASS = (
    NAME,
    Column("Value", integer("value"), type="integer", description="The priority of pods of this class."),
    Column("Global-Default", _global_default, type="boolean", description="For pods that name no class."),
    AGE,
    Column("PreemptionPolicy", text("preemptionPolicy"), description="Whether its pods preempt."),
)
RUNTIME_CLASS = (NAME, Column("Handler", text("handler"), description="The runtime's configuration."), AGE)
FLOW_SCHEMA = (
    NAME,
    Column("PriorityLevel", text("spec", "priorityLevelConfiguration", "name")),
    Column("MatchingPrecedence", integer("spec", "matchingPrecedence")),
    Column("DistinguisherMethod", text("spec", "distinguisherMethod", "type", absent="<none>")),
    AGE,
    Column("MissingPL", _dangling, description="Whether its priority level is missing."),
)
PRIORITY_LEVEL = (
    NAME,
    Column("Type", text("spec", "type")),
    Column("NominalConcurrencyShares", _limited("nominalConcurrencyShares")),
    Column("Queues", _limited("limitResponse", "queuing", "queues")),
    Column("HandSize", _limited("limitResponse", "queuing", "handSize")),
    Column("QueueLengthLimit", _limited("limitResponse", "queuing", "queueLengthLimit")),
    AGE,
)
RESOURCE_CLAIM = (
    NAME,
    Column(
        "State",
        _claim_state,
        description="pending, allocated, reserved or deleted.",
    ),
    AGE,
)
RESOURCE_SLICE = (
    NAME,
    Column("Node", text("spec", "nodeName"), description="The node that provides the devices."),
    Column("Driver", text("spec", "driver"), description="The driver of the devices."),
    Column("Pool", text("spec", "pool", "name"), description="The pool the slice belongs to."),
    AGE,
)
STORAGE_VERSION_MIGRATION = (
    Column("Name", NAME.value, description=NAME.description),
    Column("Resource", _migrated, description="What is migrated."),
    Column("Status", _migration_state, description="How far it is."),
)
DEVICE_TAINT_RULE = (
    NAME,
    Column("Key", text("spec", "taint", "key"), description="The taint's key."),
    Column("Value", text("spec", "taint", "value"), description="The taint's value."),
    Column("Effect", text("spec", "taint", "effect"), description="What the taint does."),
    Column(
        "TimeAdded",
        lambda obj, now: since(at(obj, "spec", "taint", "timeAdded"), now),
        description="Since when devices are tainted.",
    ),
    AGE,
)
CUSTOM_RESOURCE_DEFINITION = (
    NAME,
    Column("Scope", text("spec", "scope"), description="Whether its objects are in namespaces."),
    Column("Versions", _versions, description="The versions, and which one is stored."),
    Column(
        "Created At",
        text("metadata", "creationTimestamp"),
        type="date",
        description="When it was created.",
    ),
    Column("Group", text("spec", "group"), description="The API group.", priority=1),
    Column("Kind", text("spec", "names", "kind"), description="The kind of its objects.", priority=1),
    Column(
        "ShortNames",
        lambda obj, now: ",".join(at(obj, "spec", "names", "shortNames") or ()),
        description="Names for the command line.",
        priority=1,
    ),
    Column("Established", _established, type="boolean", description="Whether it is served.", priority=1),
)
