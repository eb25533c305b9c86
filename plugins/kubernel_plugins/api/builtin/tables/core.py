"""core/v1."""

from __future__ import annotations

from kubernel_plugins.api.builtin.rows import Row

__all__ = ["ROWS"]

_NO_COLLECTION_DELETE = ("create", "delete", "get", "list", "patch", "update", "watch")
_STATUS = ("status",)

POD_FIELDS = {
    "spec.nodeName": "",
    "spec.restartPolicy": "",
    "spec.schedulerName": "",
    "spec.serviceAccountName": "",
    "spec.hostNetwork": "false",
    "status.phase": "",
    "status.podIP": "",
    "status.nominatedNodeName": "",
}

EVENT_FIELDS = {
    "involvedObject.kind": "",
    "involvedObject.namespace": "",
    "involvedObject.name": "",
    "involvedObject.uid": "",
    "involvedObject.apiVersion": "",
    "involvedObject.resourceVersion": "",
    "involvedObject.fieldPath": "",
    "reason": "",
    "reportingComponent": "",
    "source": "",
    "type": "",
}

ROWS = (
    Row("Binding", "bindings", verbs=("create",), strategy="pod", create="bind"),
    Row(
        "ComponentStatus",
        "componentstatuses",
        ("cs",),
        namespaced=False,
        verbs=("get", "list"),
        columns="cluster:COMPONENT_STATUS",
        strategy="plain",
    ),
    Row("ConfigMap", "configmaps", ("cm",), columns="cluster:CONFIG_MAP", strategy="configmap"),
    Row("Endpoints", "endpoints", ("ep",), "endpoints", columns="network:ENDPOINTS", strategy="endpoints"),
    Row("Event", "events", ("ev",), columns="cluster:EVENT", strategy="event", fields=EVENT_FIELDS),
    Row("LimitRange", "limitranges", ("limits",), strategy="limitrange"),
    Row(
        "Namespace",
        "namespaces",
        ("ns",),
        namespaced=False,
        verbs=_NO_COLLECTION_DELETE,
        subresources=("finalize", "status"),
        columns="cluster:NAMESPACE",
        strategy="namespace",
        fields={"status.phase": ""},
    ),
    Row(
        "Node",
        "nodes",
        ("no",),
        namespaced=False,
        subresources=("proxy", "status"),
        columns="cluster:NODE",
        strategy="node",
        fields={"spec.unschedulable": "false"},
    ),
    Row(
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        ("pvc",),
        subresources=_STATUS,
        columns="storage:PERSISTENT_VOLUME_CLAIM",
        strategy="persistentvolumeclaim",
    ),
    Row(
        "PersistentVolume",
        "persistentvolumes",
        ("pv",),
        namespaced=False,
        subresources=_STATUS,
        columns="storage:PERSISTENT_VOLUME",
        strategy="persistentvolume",
    ),
    Row(
        "Pod",
        "pods",
        ("po",),
        categories=("all",),
        subresources=(
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
            "status",
        ),
        columns="pods:POD",
        strategy="pod",
        fields=POD_FIELDS,
        indexed_field="spec.nodeName",
    ),
    Row("PodTemplate", "podtemplates", columns="pods:POD_TEMPLATE", strategy="podtemplate"),
    Row(
        "ReplicationController",
        "replicationcontrollers",
        ("rc",),
        categories=("all",),
        subresources=("scale", "status"),
        columns="workloads:REPLICATION_CONTROLLER",
        strategy="replicationcontroller",
        fields={"status.replicas": "0"},
    ),
    Row(
        "ResourceQuota",
        "resourcequotas",
        ("quota",),
        subresources=_STATUS,
        columns="cluster:RESOURCE_QUOTA",
        strategy="resourcequota",
    ),
    Row(
        "Secret",
        "secrets",
        columns="cluster:SECRET",
        strategy="secret",
        fields={"type": ""},
    ),
    Row(
        "ServiceAccount",
        "serviceaccounts",
        ("sa",),
        subresources=("token",),
        columns="cluster:SERVICE_ACCOUNT",
        strategy="serviceaccount",
    ),
    Row(
        "Service",
        "services",
        ("svc",),
        categories=("all",),
        subresources=("proxy", "status"),
        columns="network:SERVICE",
        strategy="service",
        fields={"spec.clusterIP": "", "spec.type": ""},
    ),
)
