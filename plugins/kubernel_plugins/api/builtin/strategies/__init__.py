"""Which strategy a row of the tables means by its name.

A strategy's module is imported when it is first asked something: registering all types must cost next
to nothing. One strategy serves all versions of a type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from kubernel_plugins.api.builtin.strategies.base import Builtin

if TYPE_CHECKING:
    from kubernel.registry.types import Strategy
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["CLASSES", "TRAITS", "deferred", "make"]

TRAITS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "spec": {"generation": True},
    "conditional": {"generation": True, "unconditional_update": False},
}
"""Strategies that are ``Builtin`` with these traits."""

CLASSES: Mapping[str, str] = {
    "apiservice": "apiservices:APIServiceStrategy",
    "certificatesigningrequest": "certificates:CertificateSigningRequestStrategy",
    "clustertrustbundle": "certificates:ClusterTrustBundleStrategy",
    "configmap": "configs:ConfigMapStrategy",
    "controllerrevision": "workloads:ControllerRevisionStrategy",
    "cronjob": "jobs:CronJobStrategy",
    "csidriver": "storage:CSIDriverStrategy",
    "csinode": "storage:CSINodeStrategy",
    "csistoragecapacity": "storage:CSIStorageCapacityStrategy",
    "daemonset": "workloads:DaemonSetStrategy",
    "deployment": "workloads:DeploymentStrategy",
    "deviceclass": "devices:DeviceClassStrategy",
    "devicetaintrule": "devices:DeviceTaintRuleStrategy",
    "endpoints": "networking:EndpointsStrategy",
    "endpointslice": "networking:EndpointSliceStrategy",
    "event": "events:EventStrategy",
    "flowschema": "flow_control:FlowSchemaStrategy",
    "horizontalpodautoscaler": "autoscaling:HorizontalPodAutoscalerStrategy",
    "ingress": "networking:IngressStrategy",
    "ingressclass": "networking:IngressClassStrategy",
    "ipaddress": "networking:IPAddressStrategy",
    "job": "jobs:JobStrategy",
    "lease": "cluster:LeaseStrategy",
    "limitrange": "cluster:LimitRangeStrategy",
    "mutatingpolicy": "policies:MutatingPolicyStrategy",
    "namespace": "namespaces:NamespaceStrategy",
    "networkpolicy": "networking:NetworkPolicyStrategy",
    "node": "cluster:NodeStrategy",
    "persistentvolume": "storage:PersistentVolumeStrategy",
    "persistentvolumeclaim": "storage:PersistentVolumeClaimStrategy",
    "pod": "pods:PodStrategy",
    "podcertificaterequest": "certificates:PodCertificateRequestStrategy",
    "poddisruptionbudget": "cluster:DisruptionBudgetStrategy",
    "podgroup": "groups:PodGroupStrategy",
    "podtemplate": "workloads:PodTemplateStrategy",
    "policybinding": "policies:BindingStrategy",
    "priorityclass": "cluster:PriorityClassStrategy",
    "prioritylevel": "flow_control:PriorityLevelStrategy",
    "replicaset": "workloads:ReplicaSetStrategy",
    "replicationcontroller": "workloads:ReplicationControllerStrategy",
    "resourceclaim": "devices:ResourceClaimStrategy",
    "resourceclaimtemplate": "devices:ResourceClaimTemplateStrategy",
    "resourcequota": "cluster:ResourceQuotaStrategy",
    "resourceslice": "devices:ResourceSliceStrategy",
    "role": "access:RoleStrategy",
    "rolebinding": "access:RoleBindingStrategy",
    "runtimeclass": "cluster:RuntimeClassStrategy",
    "secret": "configs:SecretStrategy",
    "service": "services:ServiceStrategy",
    "serviceaccount": "accounts:ServiceAccountStrategy",
    "servicecidr": "networking:ServiceCIDRStrategy",
    "statefulset": "workloads:StatefulSetStrategy",
    "storageclass": "storage:StorageClassStrategy",
    "storageversionmigration": "storage:StorageVersionMigrationStrategy",
    "validatingpolicy": "policies:ValidatingPolicyStrategy",
    "volumeattachment": "storage:VolumeAttachmentStrategy",
    "volumeattributesclass": "storage:VolumeAttributesClassStrategy",
    "webhooks": "webhooks:WebhooksStrategy",
    "workload": "groups:WorkloadStrategy",
}
"""``module:class`` for the others."""

_WITH_CONTEXT = (
    "certificatesigningrequest",
    "devicetaintrule",
    "limitrange",
    "persistentvolume",
    "pod",
    "podcertificaterequest",
    "resourceclaim",
    "resourceclaimtemplate",
    "resourceslice",
    "service",
)


_NAMES_AGAIN = frozenset(
    [
        "clustertrustbundle",
        "configmap",
        "controllerrevision",
        "csinode",
        "csistoragecapacity",
        "endpoints",
        "endpointslice",
        "ingress",
        "ingressclass",
        "limitrange",
        "mutatingpolicy",
        "namespace",
        "node",
        "persistentvolume",
        "persistentvolumeclaim",
        "pod",
        "policybinding",
        "resourceclaimtemplate",
        "runtimeclass",
        "secret",
        "serviceaccount",
        "storageclass",
        "storageversionmigration",
        "validatingpolicy",
        "volumeattachment",
        "volumeattributesclass",
        "webhooks",
    ]
)
"""Types whose updates upstream validates as creations, metadata included."""

_ANY_FINALIZER = frozenset(
    [
        "apiservice",
        "event",
        "lease",
        "mutatingpolicy",
        "poddisruptionbudget",
        "policybinding",
        "runtimeclass",
        "validatingpolicy",
        "webhooks",
    ]
)
"""Types of which upstream does not ask that a finalizer has a domain or is a standard one."""


def make(name: str, context: Context) -> Builtin:
    """A new strategy; KeyError for a name that no table should have."""
    strategy = Builtin(**TRAITS[name]) if name in TRAITS else _made(name, context)
    strategy.names_again = name in _NAMES_AGAIN
    strategy.any_finalizer = name in _ANY_FINALIZER
    return strategy


def _made(name: str, context: Context) -> Builtin:
    module, _, class_name = CLASSES[name].partition(":")
    cls: Callable[..., Builtin] = getattr(import_module(f"{__name__}.{module}"), class_name)
    return cls(context) if name in _WITH_CONTEXT else cls()


class _Deferred:
    """Stands for a strategy until somebody looks at it, and passes everything on to it then."""

    def __init__(self, name: str, context: Context) -> None:
        self._name = name
        self._context = context
        self._made: Builtin | None = None

    def __getattr__(self, attribute: str) -> Any:
        made = self._made
        if made is None:
            made = self._made = make(self._name, self._context)
        # Every write asks for a dozen of these, which never change: from now on they are found at once.
        value = self.__dict__[attribute] = getattr(made, attribute)
        return value


def deferred(name: str, context: Context) -> Strategy:
    """``make(name, context)``, made when it is first used."""
    if name in TRAITS:
        return make(name, context)
    return cast("Strategy", _Deferred(name, context))
