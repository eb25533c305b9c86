"""The named groups: what v1.37 serves by default, which is what is GA."""

from __future__ import annotations

from kubernel_plugins.api.builtin.rows import Row
from kubernel_plugins.api.builtin.tables.core import EVENT_FIELDS

__all__ = ["GROUPS"]

_STATUS = ("status",)
_SCALE = ("scale", "status")
_ALL = ("all",)
_EXTENSIONS = ("api-extensions",)

_EVENT_FIELDS = {
    path.replace("involvedObject.", "regarding.") if path.startswith("involvedObject.") else path: absent
    for path, absent in EVENT_FIELDS.items()
    if path not in ("reportingComponent", "source")
} | {"reportingController": ""}

_HPA = Row(
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    ("hpa",),
    categories=_ALL,
    subresources=_STATUS,
    columns="workloads:HORIZONTAL_POD_AUTOSCALER",
    strategy="horizontalpodautoscaler",
)

GROUPS: dict[tuple[str, str], tuple[Row, ...]] = {
    ("admissionregistration.k8s.io", "v1"): (
        Row(
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicies",
            categories=_EXTENSIONS,
            namespaced=False,
            columns="extension:MUTATING_ADMISSION_POLICY",
            strategy="mutatingpolicy",
        ),
        Row(
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            categories=_EXTENSIONS,
            namespaced=False,
            columns="extension:POLICY_BINDING",
            strategy="policybinding",
        ),
        Row(
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            categories=_EXTENSIONS,
            namespaced=False,
            columns="extension:WEBHOOKS",
            strategy="webhooks",
        ),
        Row(
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            categories=_EXTENSIONS,
            namespaced=False,
            subresources=_STATUS,
            columns="extension:VALIDATING_ADMISSION_POLICY",
            strategy="validatingpolicy",
        ),
        Row(
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            categories=_EXTENSIONS,
            namespaced=False,
            columns="extension:POLICY_BINDING",
            strategy="policybinding",
        ),
        Row(
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            categories=_EXTENSIONS,
            namespaced=False,
            columns="extension:WEBHOOKS",
            strategy="webhooks",
        ),
    ),
    ("apiextensions.k8s.io", "v1"): (
        Row(
            "CustomResourceDefinition",
            "customresourcedefinitions",
            ("crd", "crds"),
            categories=_EXTENSIONS,
            namespaced=False,
            subresources=_STATUS,
            columns="cluster:CUSTOM_RESOURCE_DEFINITION",
            strategy="conditional",
            hashed="v1beta1",
        ),
    ),
    ("apiregistration.k8s.io", "v1"): (
        Row(
            "APIService",
            "apiservices",
            categories=_EXTENSIONS,
            namespaced=False,
            subresources=_STATUS,
            columns="extension:API_SERVICE",
            strategy="apiservice",
        ),
    ),
    ("apps", "v1"): (
        Row(
            "ControllerRevision",
            "controllerrevisions",
            columns="workloads:CONTROLLER_REVISION",
            strategy="controllerrevision",
        ),
        Row(
            "DaemonSet",
            "daemonsets",
            ("ds",),
            categories=_ALL,
            subresources=_STATUS,
            columns="workloads:DAEMON_SET",
            strategy="daemonset",
        ),
        Row(
            "Deployment",
            "deployments",
            ("deploy",),
            categories=_ALL,
            subresources=_SCALE,
            columns="workloads:DEPLOYMENT",
            strategy="deployment",
        ),
        Row(
            "ReplicaSet",
            "replicasets",
            ("rs",),
            categories=_ALL,
            subresources=_SCALE,
            columns="workloads:REPLICA_SET",
            strategy="replicaset",
        ),
        Row(
            "StatefulSet",
            "statefulsets",
            ("sts",),
            categories=_ALL,
            subresources=_SCALE,
            columns="workloads:STATEFUL_SET",
            strategy="statefulset",
        ),
    ),
    ("autoscaling", "v1"): (_HPA,),
    ("autoscaling", "v2"): (_HPA,),
    ("batch", "v1"): (
        Row(
            "CronJob",
            "cronjobs",
            ("cj",),
            categories=_ALL,
            subresources=_STATUS,
            columns="workloads:CRON_JOB",
            strategy="cronjob",
        ),
        Row(
            "Job",
            "jobs",
            categories=_ALL,
            subresources=_STATUS,
            columns="workloads:JOB",
            strategy="job",
            fields={"status.successful": "0"},
        ),
    ),
    ("certificates.k8s.io", "v1"): (
        Row(
            "CertificateSigningRequest",
            "certificatesigningrequests",
            ("csr",),
            namespaced=False,
            subresources=("approval", "status"),
            columns="cluster:CERTIFICATE_SIGNING_REQUEST",
            strategy="certificatesigningrequest",
            fields={"spec.signerName": ""},
        ),
        Row(
            "ClusterTrustBundle",
            "clustertrustbundles",
            namespaced=False,
            columns="cluster:CLUSTER_TRUST_BUNDLE",
            strategy="clustertrustbundle",
            hashed="v1beta1",
            fields={"spec.signerName": ""},
        ),
        Row(
            "PodCertificateRequest",
            "podcertificaterequests",
            subresources=_STATUS,
            columns="cluster:POD_CERTIFICATE_REQUEST",
            strategy="podcertificaterequest",
            hashed="v1beta1",
            fields={"spec.signerName": "", "spec.podName": "", "spec.nodeName": ""},
        ),
    ),
    ("coordination.k8s.io", "v1"): (Row("Lease", "leases", columns="cluster:LEASE", strategy="lease"),),
    ("discovery.k8s.io", "v1"): (
        Row("EndpointSlice", "endpointslices", columns="network:ENDPOINT_SLICE", strategy="endpointslice"),
    ),
    ("events.k8s.io", "v1"): (
        Row("Event", "events", ("ev",), columns="cluster:EVENT", strategy="event", fields=_EVENT_FIELDS),
    ),
    ("flowcontrol.apiserver.k8s.io", "v1"): (
        Row(
            "FlowSchema",
            "flowschemas",
            namespaced=False,
            subresources=_STATUS,
            columns="cluster:FLOW_SCHEMA",
            strategy="flowschema",
        ),
        Row(
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            namespaced=False,
            subresources=_STATUS,
            columns="cluster:PRIORITY_LEVEL",
            strategy="prioritylevel",
        ),
    ),
    ("networking.k8s.io", "v1"): (
        Row(
            "IngressClass",
            "ingressclasses",
            namespaced=False,
            columns="network:INGRESS_CLASS",
            strategy="ingressclass",
        ),
        Row(
            "Ingress",
            "ingresses",
            ("ing",),
            subresources=_STATUS,
            columns="network:INGRESS",
            strategy="ingress",
        ),
        Row(
            "IPAddress",
            "ipaddresses",
            ("ip",),
            namespaced=False,
            columns="network:IP_ADDRESS",
            strategy="ipaddress",
        ),
        Row(
            "NetworkPolicy",
            "networkpolicies",
            ("netpol",),
            columns="network:NETWORK_POLICY",
            strategy="networkpolicy",
        ),
        Row(
            "ServiceCIDR",
            "servicecidrs",
            namespaced=False,
            subresources=_STATUS,
            columns="network:SERVICE_CIDR",
            strategy="servicecidr",
        ),
    ),
    ("node.k8s.io", "v1"): (
        Row(
            "RuntimeClass",
            "runtimeclasses",
            namespaced=False,
            columns="cluster:RUNTIME_CLASS",
            strategy="runtimeclass",
        ),
    ),
    ("policy", "v1"): (
        Row(
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            ("pdb",),
            subresources=_STATUS,
            columns="workloads:POD_DISRUPTION_BUDGET",
            strategy="poddisruptionbudget",
        ),
    ),
    ("rbac.authorization.k8s.io", "v1"): (
        Row(
            "ClusterRoleBinding",
            "clusterrolebindings",
            namespaced=False,
            columns="cluster:CLUSTER_ROLE_BINDING",
            strategy="rolebinding",
        ),
        Row("ClusterRole", "clusterroles", namespaced=False, strategy="role"),
        Row("RoleBinding", "rolebindings", columns="cluster:ROLE_BINDING", strategy="rolebinding"),
        Row("Role", "roles", strategy="role"),
    ),
    ("resource.k8s.io", "v1"): (
        Row(
            "DeviceClass",
            "deviceclasses",
            namespaced=False,
            columns="common:NAME_AGE",
            strategy="deviceclass",
        ),
        Row(
            "DeviceTaintRule",
            "devicetaintrules",
            namespaced=False,
            subresources=_STATUS,
            columns="cluster:DEVICE_TAINT_RULE",
            strategy="devicetaintrule",
            hashed="v1beta2",
        ),
        Row(
            "ResourceClaim",
            "resourceclaims",
            subresources=_STATUS,
            columns="cluster:RESOURCE_CLAIM",
            strategy="resourceclaim",
        ),
        Row(
            "ResourceClaimTemplate",
            "resourceclaimtemplates",
            columns="common:NAME_AGE",
            strategy="resourceclaimtemplate",
        ),
        Row(
            "ResourceSlice",
            "resourceslices",
            namespaced=False,
            columns="cluster:RESOURCE_SLICE",
            strategy="resourceslice",
            fields={"spec.nodeName": "", "spec.driver": ""},
        ),
    ),
    ("scheduling.k8s.io", "v1"): (
        Row(
            "PriorityClass",
            "priorityclasses",
            ("pc",),
            namespaced=False,
            columns="cluster:PRIORITY_CLASS",
            strategy="priorityclass",
        ),
    ),
    ("storage.k8s.io", "v1"): (
        Row("CSIDriver", "csidrivers", namespaced=False, columns="storage:CSI_DRIVER", strategy="csidriver"),
        Row(
            "CSINode",
            "csinodes",
            namespaced=False,
            columns="storage:CSI_NODE",
            strategy="csinode",
            subresources=_STATUS,
        ),
        Row(
            "CSIStorageCapacity",
            "csistoragecapacities",
            strategy="csistoragecapacity",
        ),
        Row(
            "StorageClass",
            "storageclasses",
            ("sc",),
            namespaced=False,
            columns="storage:STORAGE_CLASS",
            strategy="storageclass",
        ),
        Row(
            "VolumeAttachment",
            "volumeattachments",
            namespaced=False,
            subresources=_STATUS,
            columns="storage:VOLUME_ATTACHMENT",
            strategy="volumeattachment",
        ),
        Row(
            "VolumeAttributesClass",
            "volumeattributesclasses",
            ("vac",),
            namespaced=False,
            columns="storage:VOLUME_ATTRIBUTES_CLASS",
            strategy="volumeattributesclass",
        ),
    ),
    ("storagemigration.k8s.io", "v1"): (
        Row(
            "StorageVersionMigration",
            "storageversionmigrations",
            namespaced=False,
            subresources=_STATUS,
            columns="cluster:STORAGE_VERSION_MIGRATION",
            strategy="storageversionmigration",
            hashed="v1beta1",
        ),
    ),
}
