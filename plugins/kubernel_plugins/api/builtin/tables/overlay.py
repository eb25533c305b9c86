"""Constant defaults and enums, which the OpenAPI definitions leave out.

Facts: the defaults.go and validation.go of pkg/apis/* (v1.37). Defaults that depend on other fields, or that
a shared definition has only in one place, are their strategy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["overlay"]

_Kinds = Mapping[str, Mapping[str, Mapping[str, Any]]]

_STRUCT: Mapping[str, Any] = {"default": {}}
"""In Go a struct and no pointer: always there."""
_PROTOCOL = {"default": "TCP", "enum": ("SCTP", "TCP", "UDP")}
_POLICIES = ("Cluster", "Local")
_FILE_MODE = {"default": 0o644}
_CONTAINER: Mapping[str, Mapping[str, Any]] = {
    "imagePullPolicy": {"enum": ("Always", "IfNotPresent", "Never")},
    "resources": {"default": {}},
    "terminationMessagePath": {"default": "/dev/termination-log"},
    "terminationMessagePolicy": {"default": "File", "enum": ("FallbackToLogsOnError", "File")},
}
_ACCESS_MODES = {"enum": ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")}
_VOLUME_MODE = {"default": "Filesystem", "enum": ("Block", "Filesystem")}
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_ISCSI = {"iscsiInterface": {"default": "default"}}
_RBD = {
    "keyring": {"default": "/etc/ceph/keyring"},
    "pool": {"default": "rbd"},
    "user": {"default": "admin"},
}
_SCALE_IO = {"fsType": {"default": "xfs"}, "storageMode": {"default": "ThinProvisioned"}}
_HONOR = {"enum": ("Honor", "Ignore")}

_CORE: _Kinds = {
    "AzureDiskVolumeSource": {
        "cachingMode": {"default": "ReadWrite", "enum": ("None", "ReadOnly", "ReadWrite")},
        "fsType": {"default": "ext4"},
        "kind": {"default": "Shared", "enum": ("Dedicated", "Managed", "Shared")},
        "readOnly": {"default": False},
    },
    "ConfigMapVolumeSource": {"defaultMode": _FILE_MODE},
    "Container": _CONTAINER,
    "ContainerPort": {"protocol": _PROTOCOL},
    "DownwardAPIVolumeSource": {"defaultMode": _FILE_MODE},
    "EndpointPort": {"protocol": _PROTOCOL},
    "EphemeralContainer": _CONTAINER,
    "GRPCAction": {"service": {"default": ""}},
    "HTTPGetAction": {
        "path": {"default": "/"},
        "scheme": {"default": "HTTP", "enum": ("HTTP", "HTTPS")},
    },
    "HostPathVolumeSource": {
        "type": {
            "default": "",
            "enum": (
                "",
                "BlockDevice",
                "CharDevice",
                "Directory",
                "DirectoryOrCreate",
                "File",
                "FileOrCreate",
                "Socket",
            ),
        }
    },
    "ISCSIPersistentVolumeSource": _ISCSI,
    "ISCSIVolumeSource": _ISCSI,
    "ObjectFieldSelector": {"apiVersion": {"default": "v1"}},
    "PersistentVolumeClaimSpec": {
        "accessModes[]": _ACCESS_MODES,
        "resources": {"default": {}},
        "volumeMode": _VOLUME_MODE,
    },
    "PersistentVolumeSpec": {
        "accessModes[]": _ACCESS_MODES,
        "persistentVolumeReclaimPolicy": {"enum": ("Delete", "Recycle", "Retain")},
        "volumeMode": {"enum": ("Block", "Filesystem")},
    },
    "PodSpec": {
        "dnsPolicy": {
            "default": "ClusterFirst",
            "enum": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        },
        "preemptionPolicy": {"enum": ("Never", "PreemptLowerPriority")},
        "restartPolicy": {"default": "Always", "enum": ("Always", "Never", "OnFailure")},
        "schedulerName": {"default": "default-scheduler"},
        "securityContext": {"default": {}},
        "terminationGracePeriodSeconds": {"default": 30},
    },
    "PodTemplate": {"template": _STRUCT},
    "PodTemplateSpec": {"metadata": _STRUCT, "spec": _STRUCT},
    "Probe": {
        "failureThreshold": {"default": 3},
        "periodSeconds": {"default": 10},
        "successThreshold": {"default": 1},
        "timeoutSeconds": {"default": 1},
    },
    "ProjectedVolumeSource": {"defaultMode": _FILE_MODE},
    "RBDPersistentVolumeSource": _RBD,
    "RBDVolumeSource": _RBD,
    "ReplicationControllerSpec": {"replicas": {"default": 1}},
    "ScaleIOPersistentVolumeSource": _SCALE_IO,
    "ScaleIOVolumeSource": _SCALE_IO,
    "SecretVolumeSource": {"defaultMode": _FILE_MODE},
    "ServiceAccountTokenProjection": {"expirationSeconds": {"default": 3600}},
    "ServicePort": {"protocol": _PROTOCOL},
    "ServiceSpec": {
        "externalTrafficPolicy": {"enum": _POLICIES},
        "internalTrafficPolicy": {"enum": _POLICIES},
        "ipFamilies[]": {"enum": ("IPv4", "IPv6")},
        "ipFamilyPolicy": {"enum": ("PreferDualStack", "RequireDualStack", "SingleStack")},
        "sessionAffinity": {"default": "None", "enum": ("ClientIP", "None")},
        "trafficDistribution": {"enum": ("PreferClose", "PreferSameNode", "PreferSameZone")},
        "type": {"default": "ClusterIP", "enum": ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")},
    },
    "Taint": {"effect": {"enum": _EFFECTS}},
    "Toleration": {
        "effect": {"enum": ("", *_EFFECTS)},
        "operator": {"enum": ("", "Equal", "Exists", "Gt", "Lt")},
    },
    "TopologySpreadConstraint": {
        "nodeAffinityPolicy": _HONOR,
        "nodeTaintsPolicy": _HONOR,
        "whenUnsatisfiable": {"enum": ("DoNotSchedule", "ScheduleAnyway")},
    },
    "VolumeMount": {"mountPropagation": {"enum": ("Bidirectional", "HostToContainer", "None")}},
}

_RETENTION = {"default": "Retain", "enum": ("Delete", "Retain")}
_APPS: _Kinds = {
    "DaemonSetSpec": {"revisionHistoryLimit": {"default": 10}, "template": _STRUCT},
    "DaemonSetUpdateStrategy": {"type": {"enum": ("OnDelete", "RollingUpdate")}},
    "DeploymentSpec": {
        "progressDeadlineSeconds": {"default": 600},
        "replicas": {"default": 1},
        "revisionHistoryLimit": {"default": 10},
        "template": _STRUCT,
    },
    "DeploymentStrategy": {"type": {"enum": ("Recreate", "RollingUpdate")}},
    "ReplicaSetSpec": {"replicas": {"default": 1}, "template": _STRUCT},
    "StatefulSetPersistentVolumeClaimRetentionPolicy": {
        "whenDeleted": _RETENTION,
        "whenScaled": _RETENTION,
    },
    "StatefulSetSpec": {
        "persistentVolumeClaimRetentionPolicy": {"default": {}},
        "podManagementPolicy": {"default": "OrderedReady", "enum": ("OrderedReady", "Parallel")},
        "replicas": {"default": 1},
        "revisionHistoryLimit": {"default": 10},
        "serviceName": {"default": ""},
        "template": _STRUCT,
    },
    "StatefulSetUpdateStrategy": {"type": {"enum": ("OnDelete", "RollingUpdate")}},
}

_BATCH: _Kinds = {
    "CronJobSpec": {
        "concurrencyPolicy": {"default": "Allow", "enum": ("Allow", "Forbid", "Replace")},
        "failedJobsHistoryLimit": {"default": 1},
        "jobTemplate": _STRUCT,
        "successfulJobsHistoryLimit": {"default": 3},
        "suspend": {"default": False},
    },
    "JobSpec": {
        "completionMode": {"enum": ("Indexed", "NonIndexed")},
        "podReplacementPolicy": {"enum": ("Failed", "TerminatingOrFailed")},
        "template": _STRUCT,
    },
    "JobTemplateSpec": {"metadata": _STRUCT, "spec": _STRUCT},
}

_WEBHOOK: dict[str, Any] = {
    "failurePolicy": {"default": "Fail", "enum": ("Fail", "Ignore")},
    "matchPolicy": {"default": "Equivalent", "enum": ("Equivalent", "Exact")},
    "namespaceSelector": {"default": {}},
    "objectSelector": {"default": {}},
    "sideEffects": {"enum": ("None", "NoneOnDryRun")},
    "timeoutSeconds": {"default": 10},
}
_SCOPE = {"scope": {"default": "*", "enum": ("*", "Cluster", "Namespaced")}}
_ADMISSION: _Kinds = {
    "MatchResources": {
        "matchPolicy": {"default": "Equivalent", "enum": ("Equivalent", "Exact")},
        "namespaceSelector": {"default": {}},
        "objectSelector": {"default": {}},
    },
    "MutatingAdmissionPolicySpec": {"failurePolicy": {"default": "Fail", "enum": ("Fail", "Ignore")}},
    "MutatingWebhook": _WEBHOOK | {"reinvocationPolicy": {"default": "Never", "enum": ("IfNeeded", "Never")}},
    "NamedRuleWithOperations": _SCOPE,
    "RuleWithOperations": _SCOPE,
    "ServiceReference": {"port": {"default": 443}},
    "ValidatingAdmissionPolicySpec": {"failurePolicy": {"default": "Fail", "enum": ("Fail", "Ignore")}},
    "ValidatingWebhook": _WEBHOOK,
}

_SHARES = {"lendablePercent": {"default": 0}}
_FLOW_CONTROL: _Kinds = {
    "ExemptPriorityLevelConfiguration": _SHARES | {"nominalConcurrencyShares": {"default": 0}},
    "FlowSchemaSpec": {"matchingPrecedence": {"default": 1000}},
    "LimitedPriorityLevelConfiguration": _SHARES | {"nominalConcurrencyShares": {"default": 30}},
    "PriorityLevelConfigurationSpec": {"type": {"enum": ("Exempt", "Limited")}},
    "QueuingConfiguration": {
        "handSize": {"default": 8},
        "queueLengthLimit": {"default": 50},
        "queues": {"default": 64},
    },
}

_NETWORKING: _Kinds = {
    "HTTPIngressPath": {"pathType": {"enum": ("Exact", "ImplementationSpecific", "Prefix")}},
    "IngressClassParametersReference": {"scope": {"default": "Cluster", "enum": ("Cluster", "Namespace")}},
    "NetworkPolicyPort": {"protocol": _PROTOCOL},
    "NetworkPolicySpec": {
        "podSelector": {"default": {}},
        "policyTypes[]": {"enum": ("Egress", "Ingress")},
    },
}

_STORAGE: _Kinds = {
    "CSIDriverSpec": {
        "attachRequired": {"default": True},
        "fsGroupPolicy": {
            "default": "ReadWriteOnceWithFSType",
            "enum": ("File", "None", "ReadWriteOnceWithFSType"),
        },
        "podInfoOnMount": {"default": False},
        "requiresRepublish": {"default": False},
        "seLinuxMount": {"default": False},
        "storageCapacity": {"default": False},
        "volumeLifecycleModes": {"default": ["Persistent"]},
        "volumeLifecycleModes[]": {"enum": ("Ephemeral", "Persistent")},
    },
    "StorageClass": {
        "reclaimPolicy": {"default": "Delete", "enum": ("Delete", "Retain")},
        "volumeBindingMode": {"default": "Immediate", "enum": ("Immediate", "WaitForFirstConsumer")},
    },
}

_DEVICE = {"allocationMode": {"default": "ExactCount", "enum": ("All", "ExactCount")}}

_API = "io.k8s.api"
# The core group is the empty text.
_META: _Kinds = {"GroupResource": {"": {"required": ("resource",)}}}

_TABLES: Mapping[str, _Kinds] = {
    "io.k8s.apimachinery.pkg.apis.meta.v1": _META,
    f"{_API}.admissionregistration.v1": _ADMISSION,
    f"{_API}.apps.v1": _APPS,
    f"{_API}.autoscaling.v2": {
        "HPAScalingRules": {"selectPolicy": {"enum": ("Disabled", "Max", "Min")}},
    },
    f"{_API}.batch.v1": _BATCH,
    f"{_API}.core.v1": _CORE,
    f"{_API}.discovery.v1": {
        "EndpointPort": {"name": {"default": ""}, "protocol": _PROTOCOL},
        "EndpointSlice": {"addressType": {"enum": ("FQDN", "IPv4", "IPv6")}},
    },
    f"{_API}.flowcontrol.v1": _FLOW_CONTROL,
    f"{_API}.networking.v1": _NETWORKING,
    f"{_API}.policy.v1": {
        "PodDisruptionBudgetSpec": {
            "unhealthyPodEvictionPolicy": {"enum": ("AlwaysAllow", "IfHealthyBudget")}
        },
    },
    f"{_API}.resource.v1": {"DeviceSubRequest": _DEVICE, "ExactDeviceRequest": _DEVICE},
    f"{_API}.scheduling.v1": {
        "PriorityClass": {"preemptionPolicy": {"enum": ("Never", "PreemptLowerPriority")}},
    },
    f"{_API}.storage.v1": _STORAGE,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1": {
        "ServiceReference": {"port": {"default": 443}},
    },
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1": {
        "ServiceReference": {"port": {"default": 443}},
    },
}


def overlay() -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """The table for ``Schemas.overlay``: definition -> field -> keyword -> value."""
    return {
        f"{package}.{kind}": fields for package, kinds in _TABLES.items() for kind, fields in kinds.items()
    }
