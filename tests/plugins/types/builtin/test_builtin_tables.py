"""Everything that v1.37 serves by default is registered, under upstream's names."""

from __future__ import annotations

from typing import Any

import pytest
from builtin_kit import Cluster

from kubernel.registry.types import ResourceType
from kubernel_plugins.api.builtin.schemas import Schemas
from kubernel_plugins.api.builtin.tables import REVIEWS

# What ``kubectl api-resources --no-headers`` prints for v1.37 with default settings.
API_RESOURCES = """
bindings - v1 true Binding
componentstatuses cs v1 false ComponentStatus
configmaps cm v1 true ConfigMap
endpoints ep v1 true Endpoints
events ev v1 true Event
limitranges limits v1 true LimitRange
namespaces ns v1 false Namespace
nodes no v1 false Node
persistentvolumeclaims pvc v1 true PersistentVolumeClaim
persistentvolumes pv v1 false PersistentVolume
pods po v1 true Pod
podtemplates - v1 true PodTemplate
replicationcontrollers rc v1 true ReplicationController
resourcequotas quota v1 true ResourceQuota
secrets - v1 true Secret
serviceaccounts sa v1 true ServiceAccount
services svc v1 true Service
mutatingadmissionpolicies - admissionregistration.k8s.io/v1 false MutatingAdmissionPolicy
mutatingadmissionpolicybindings - admissionregistration.k8s.io/v1 false MutatingAdmissionPolicyBinding
mutatingwebhookconfigurations - admissionregistration.k8s.io/v1 false MutatingWebhookConfiguration
validatingadmissionpolicies - admissionregistration.k8s.io/v1 false ValidatingAdmissionPolicy
validatingadmissionpolicybindings - admissionregistration.k8s.io/v1 false ValidatingAdmissionPolicyBinding
validatingwebhookconfigurations - admissionregistration.k8s.io/v1 false ValidatingWebhookConfiguration
customresourcedefinitions crd,crds apiextensions.k8s.io/v1 false CustomResourceDefinition
apiservices - apiregistration.k8s.io/v1 false APIService
controllerrevisions - apps/v1 true ControllerRevision
daemonsets ds apps/v1 true DaemonSet
deployments deploy apps/v1 true Deployment
replicasets rs apps/v1 true ReplicaSet
statefulsets sts apps/v1 true StatefulSet
selfsubjectreviews - authentication.k8s.io/v1 false SelfSubjectReview
tokenreviews - authentication.k8s.io/v1 false TokenReview
localsubjectaccessreviews - authorization.k8s.io/v1 true LocalSubjectAccessReview
selfsubjectaccessreviews - authorization.k8s.io/v1 false SelfSubjectAccessReview
selfsubjectrulesreviews - authorization.k8s.io/v1 false SelfSubjectRulesReview
subjectaccessreviews - authorization.k8s.io/v1 false SubjectAccessReview
horizontalpodautoscalers hpa autoscaling/v1 true HorizontalPodAutoscaler
horizontalpodautoscalers hpa autoscaling/v2 true HorizontalPodAutoscaler
cronjobs cj batch/v1 true CronJob
jobs - batch/v1 true Job
certificatesigningrequests csr certificates.k8s.io/v1 false CertificateSigningRequest
clustertrustbundles - certificates.k8s.io/v1 false ClusterTrustBundle
podcertificaterequests - certificates.k8s.io/v1 true PodCertificateRequest
leases - coordination.k8s.io/v1 true Lease
endpointslices - discovery.k8s.io/v1 true EndpointSlice
events ev events.k8s.io/v1 true Event
flowschemas - flowcontrol.apiserver.k8s.io/v1 false FlowSchema
prioritylevelconfigurations - flowcontrol.apiserver.k8s.io/v1 false PriorityLevelConfiguration
ingressclasses - networking.k8s.io/v1 false IngressClass
ingresses ing networking.k8s.io/v1 true Ingress
ipaddresses ip networking.k8s.io/v1 false IPAddress
networkpolicies netpol networking.k8s.io/v1 true NetworkPolicy
servicecidrs - networking.k8s.io/v1 false ServiceCIDR
runtimeclasses - node.k8s.io/v1 false RuntimeClass
poddisruptionbudgets pdb policy/v1 true PodDisruptionBudget
clusterrolebindings - rbac.authorization.k8s.io/v1 false ClusterRoleBinding
clusterroles - rbac.authorization.k8s.io/v1 false ClusterRole
rolebindings - rbac.authorization.k8s.io/v1 true RoleBinding
roles - rbac.authorization.k8s.io/v1 true Role
deviceclasses - resource.k8s.io/v1 false DeviceClass
devicetaintrules - resource.k8s.io/v1 false DeviceTaintRule
resourceclaims - resource.k8s.io/v1 true ResourceClaim
resourceclaimtemplates - resource.k8s.io/v1 true ResourceClaimTemplate
resourceslices - resource.k8s.io/v1 false ResourceSlice
priorityclasses pc scheduling.k8s.io/v1 false PriorityClass
csidrivers - storage.k8s.io/v1 false CSIDriver
csinodes - storage.k8s.io/v1 false CSINode
csistoragecapacities - storage.k8s.io/v1 true CSIStorageCapacity
storageclasses sc storage.k8s.io/v1 false StorageClass
volumeattachments - storage.k8s.io/v1 false VolumeAttachment
volumeattributesclasses vac storage.k8s.io/v1 false VolumeAttributesClass
storageversionmigrations - storagemigration.k8s.io/v1 false StorageVersionMigration
"""

# Kinds with a List that v1.37 does not serve by default: feature-gated or of the discovery documents.
NOT_SERVED = {("", "v1", "APIGroup"), ("", "v1", "APIResource")}


@pytest.fixture(scope="module")
def registered() -> list[ResourceType]:
    return list(Cluster().registry.types())


def test_kubectl_api_resources_lists_what_upstream_lists(registered: list[ResourceType]) -> None:
    shown = {
        " ".join(
            (
                type.plural,
                ",".join(type.short_names) or "-",
                type.api_version,
                str(type.namespaced).lower(),
                type.kind,
            )
        )
        for type in registered
    }
    assert shown == set(API_RESOURCES.strip().splitlines())


def test_every_ga_kind_with_a_list_is_served(registered: list[ResourceType]) -> None:
    served = {(type.group, type.version, type.kind) for type in registered}
    listed = {
        (group, version, kind.removesuffix("List"))
        for group, version, kind in Schemas().gvks()
        if kind.endswith("List") and kind != "List" and "alpha" not in version and "beta" not in version
    }
    assert listed - served == NOT_SERVED


@pytest.mark.parametrize(
    ("plural", "group", "expected"),
    [
        pytest.param(
            "pods",
            "",
            {
                "attach": ("v1", "PodAttachOptions", "create get"),
                "binding": ("v1", "Binding", "create"),
                "ephemeralcontainers": ("v1", "Pod", "get patch update"),
                "eviction": ("policy/v1", "Eviction", "create"),
                "exec": ("v1", "PodExecOptions", "create get"),
                "log": ("v1", "Pod", "get"),
                "portforward": ("v1", "PodPortForwardOptions", "create get"),
                "proxy": ("v1", "PodProxyOptions", "create delete get patch update"),
                "resize": ("v1", "Pod", "get patch update"),
                "status": ("v1", "Pod", "get patch update"),
            },
            id="pods",
        ),
        pytest.param(
            "namespaces",
            "",
            {"finalize": ("v1", "Namespace", "update"), "status": ("v1", "Namespace", "get patch update")},
            id="namespaces",
        ),
        pytest.param(
            "deployments",
            "apps",
            {
                "scale": ("autoscaling/v1", "Scale", "get patch update"),
                "status": ("apps/v1", "Deployment", "get patch update"),
            },
            id="deployments",
        ),
        pytest.param(
            "serviceaccounts",
            "",
            {"token": ("authentication.k8s.io/v1", "TokenRequest", "create")},
            id="serviceaccounts",
        ),
        pytest.param(
            "certificatesigningrequests",
            "certificates.k8s.io",
            {
                "approval": ("certificates.k8s.io/v1", "CertificateSigningRequest", "get patch update"),
                "status": ("certificates.k8s.io/v1", "CertificateSigningRequest", "get patch update"),
            },
            id="certificatesigningrequests",
        ),
    ],
)
def test_subresources_have_upstreams_kinds_and_verbs(
    registered: list[ResourceType], plural: str, group: str, expected: dict[str, Any]
) -> None:
    type = next(type for type in registered if (type.plural, type.group) == (plural, group))
    shown = {
        name: (sub.kind.api_version, sub.kind.kind, " ".join(sub.verbs))
        for name, sub in type.subresources.items()
    }
    assert shown == expected


def test_kubectl_get_all_means_the_types_of_the_category_all(registered: list[ResourceType]) -> None:
    assert {type.plural for type in registered if "all" in type.categories} == {
        "pods",
        "replicationcontrollers",
        "services",
        "daemonsets",
        "deployments",
        "replicasets",
        "statefulsets",
        "horizontalpodautoscalers",
        "cronjobs",
        "jobs",
    }


def test_every_type_has_a_schema_and_columns_and_a_strategy(registered: list[ResourceType]) -> None:
    for type in registered:
        assert type.schema().type == "object", type.kind
        assert type.columns[0].name in ("Name", "Last Seen"), type.kind
        assert type.strategy.default_propagation in ("Background", "Orphan")


def test_every_column_tolerates_an_object_with_nothing_in_it(registered: list[ResourceType]) -> None:
    for type in registered:
        for column in type.columns:
            cell = column.value({"metadata": {"name": "x"}}, 0.0)
            assert isinstance(cell, str | int | float | bool), (type.kind, column.name)


def test_reviews_have_rows_for_the_plugins_that_answer_them() -> None:
    schemas = Schemas()
    names = {row.kind for rows in REVIEWS.values() for row in rows}
    assert "SelfSubjectAccessReview" in names
    for (group, version), rows in REVIEWS.items():
        for row in rows:
            assert row.verbs == ("create",)
            assert schemas.for_kind(group, version, row.kind).properties


@pytest.mark.parametrize(
    ("plural", "group", "obj", "selected"),
    [
        pytest.param("pods", "", {"spec": {"nodeName": "n1"}}, {"spec.nodeName": "n1"}, id="node"),
        pytest.param("pods", "", {"spec": {}}, {"spec.hostNetwork": "false"}, id="absent-flag"),
        pytest.param("pods", "", {"spec": {"hostNetwork": True}}, {"spec.hostNetwork": "true"}, id="flag"),
        pytest.param("jobs", "batch", {"status": {"succeeded": 3}}, {"status.successful": "3"}, id="job"),
        pytest.param("jobs", "batch", {}, {"status.successful": "0"}, id="job-none"),
        pytest.param(
            "events",
            "events.k8s.io",
            {"involvedObject": {"name": "p"}, "reportingComponent": "kubelet"},
            {"regarding.name": "p", "reportingController": "kubelet"},
            id="event-renamed",
        ),
        pytest.param(
            "events", "", {"source": {"component": "kubelet"}}, {"source": "kubelet"}, id="event-source"
        ),
        pytest.param(
            "nodes", "", {"spec": {"unschedulable": True}}, {"spec.unschedulable": "true"}, id="cordon"
        ),
    ],
)
def test_field_selectors_compare_the_fields_text(
    registered: list[ResourceType], plural: str, group: str, obj: dict[str, Any], selected: dict[str, str]
) -> None:
    type = next(type for type in registered if (type.plural, type.group) == (plural, group))
    for path, value in selected.items():
        assert type.field_selectors[path](obj) == value
