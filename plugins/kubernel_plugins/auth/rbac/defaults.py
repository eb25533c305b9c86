"""The roles and bindings every cluster starts with, as a table of rules as ``parse_rule`` reads them.

Source: kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubernel_plugins.auth.rules import NODE_RULES, parse_rule

__all__ = ["default_objects"]

_GROUP = "rbac.authorization.k8s.io"
_R = "get list watch"
_LW = "list watch"
_W = "create delete deletecollection patch update"
_ALL = f"{_W} {_R}"
_EVENTS = "create patch update | ,events.k8s.io: events"
_EXT = "apps,extensions:"

_AGGREGATED = ("admin", "edit", "view")

_HEALTH = "/healthz /livez /readyz /version /version/"

_ROLES: dict[str, tuple[str, ...]] = {
    "cluster-admin": ("* | *: *", "* | *"),
    "system:discovery": (f"get | /api /api/* /apis /apis/* /openapi /openapi/* {_HEALTH}",),
    "system:basic-user": (
        "create | authorization.k8s.io: selfsubjectaccessreviews selfsubjectrulesreviews",
        "create | authentication.k8s.io: selfsubjectreviews",
    ),
    "system:public-info-viewer": (f"get | {_HEALTH}",),
    "system:monitoring": (
        "get | /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
    ),
    "system:auth-delegator": (
        "create | authentication.k8s.io: tokenreviews",
        "create | authorization.k8s.io: subjectaccessreviews",
    ),
    "system:service-account-issuer-discovery": ("get | /.well-known/openid-configuration /openid/v1/jwks",),
    "system:metrics-server": (f"{_R} | : nodes pods",),
    "system:kube-aggregator": (f"{_R} | : endpoints services",),
    "system:kube-dns": (f"{_LW} | : endpoints services",),
    "system:kubelet-api-admin": (
        f"{_R} proxy | : nodes",
        "* | : nodes/log nodes/metrics nodes/proxy nodes/stats",
    ),
    "system:node-bootstrapper": (f"create {_R} | certificates.k8s.io: certificatesigningrequests",),
    "system:node-problem-detector": ("get | : nodes", "patch | : nodes/status", _EVENTS),
    "system:node-proxier": (
        f"{_LW} | : endpoints services",
        f"{_R} | : nodes",
        f"{_LW} | discovery.k8s.io: endpointslices",
        _EVENTS,
    ),
    "system:persistent-volume-provisioner": (
        f"create delete {_R} | : persistentvolumes",
        f"update {_R} | : persistentvolumeclaims",
        f"{_R} | storage.k8s.io: storageclasses",
        "watch | : events",
        _EVENTS,
    ),
    "system:volume-scheduler": (
        f"patch update {_R} | : persistentvolumes persistentvolumeclaims",
        f"{_R} | storage.k8s.io: storageclasses",
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        "create | certificates.k8s.io: certificatesigningrequests/nodeclient",
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        "create | certificates.k8s.io: certificatesigningrequests/selfnodeclient",
    ),
    "system:certificates.k8s.io:kube-apiserver-client-approver": (
        "approve | certificates.k8s.io: signers | kubernetes.io/kube-apiserver-client",
    ),
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": (
        "approve | certificates.k8s.io: signers | kubernetes.io/kube-apiserver-client-kubelet",
    ),
    "system:certificates.k8s.io:kubelet-serving-approver": (
        "approve | certificates.k8s.io: signers | kubernetes.io/kubelet-serving",
    ),
    "system:certificates.k8s.io:legacy-unknown-approver": (
        "approve | certificates.k8s.io: signers | kubernetes.io/legacy-unknown",
    ),
    "system:kube-scheduler": (
        _EVENTS,
        "create | coordination.k8s.io: leases",
        f"update {_R} | coordination.k8s.io: leases | kube-scheduler",
        f"{_R} | : nodes namespaces replicationcontrollers services persistentvolumes persistentvolumeclaims",
        f"delete {_R} | : pods",
        "create | : bindings pods/binding",
        "patch update | : pods/status",
        f"{_R} | {_EXT} replicasets",
        f"{_R} | apps: statefulsets",
        f"{_R} | policy: poddisruptionbudgets",
        "create | authentication.k8s.io: tokenreviews",
        "create | authorization.k8s.io: subjectaccessreviews",
        f"{_R} | storage.k8s.io: csinodes csidrivers csistoragecapacities storageclasses volumeattachments",
        f"{_R} | resource.k8s.io: deviceclasses devicetaintrules resourceslices",
        f"patch update {_R} | resource.k8s.io: resourceclaims resourceclaims/status",
        f"{_R} | scheduling.k8s.io: podgroups",
        "patch update | scheduling.k8s.io: podgroups/status",
    ),
    "system:kube-controller-manager": (
        _EVENTS,
        "create | coordination.k8s.io: leases",
        f"update {_R} | coordination.k8s.io: leases | kube-controller-manager",
        "create delete get update | : secrets",
        "create get update | : serviceaccounts",
        "get | : configmaps namespaces",
        "create | authentication.k8s.io: tokenreviews",
        "create | authorization.k8s.io: subjectaccessreviews",
        "list watch | *: *",
        "create | : serviceaccounts/token",
    ),
    "system:node": NODE_RULES,
}

_AGGREGATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "system:aggregate-to-admin": (
        "admin",
        (
            "create | authorization.k8s.io: localsubjectaccessreviews",
            f"{_ALL} | {_GROUP}: rolebindings roles",
        ),
    ),
    "system:aggregated-metrics-reader": ("view", (f"{_R} | metrics.k8s.io: nodes pods",)),
    "system:aggregate-to-edit": (
        "edit",
        (
            f"{_R} | : pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
            "impersonate | : serviceaccounts",
            f"{_W} | : pods pods/attach pods/exec pods/portforward pods/proxy",
            "create | : pods/eviction serviceaccounts/token",
            (
                f"{_W} | : configmaps events persistentvolumeclaims replicationcontrollers "
                "replicationcontrollers/scale secrets serviceaccounts services services/proxy"
            ),
            (
                f"{_W} | apps: daemonsets deployments deployments/rollback deployments/scale replicasets "
                "replicasets/scale statefulsets statefulsets/scale"
            ),
            f"{_W} | autoscaling: horizontalpodautoscalers",
            f"{_W} | batch: cronjobs jobs",
            f"{_W} | policy: poddisruptionbudgets",
            f"{_W} | networking.k8s.io: ingresses networkpolicies",
            f"{_ALL} | coordination.k8s.io: leases",
            f"{_W} | resource.k8s.io: resourceclaims resourceclaimtemplates",
        ),
    ),
    "system:aggregate-to-view": (
        "view",
        (
            (
                f"{_R} | : configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
                "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"
            ),
            (
                f"{_R} | : bindings events limitranges namespaces namespaces/status pods/log pods/status "
                "replicationcontrollers/status resourcequotas resourcequotas/status"
            ),
            f"{_R} | discovery.k8s.io: endpointslices",
            (
                f"{_R} | apps: controllerrevisions daemonsets daemonsets/status deployments deployments/scale "
                "deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale "
                "statefulsets/status"
            ),
            f"{_R} | autoscaling: horizontalpodautoscalers horizontalpodautoscalers/status",
            f"{_R} | batch: cronjobs cronjobs/status jobs jobs/status",
            f"{_R} | policy: poddisruptionbudgets poddisruptionbudgets/status",
            f"{_R} | networking.k8s.io: ingresses ingresses/status networkpolicies",
            f"{_R} | resource.k8s.io: resourceclaims resourceclaims/status resourceclaimtemplates",
        ),
    ),
}

_CONTROLLERS: dict[str, tuple[str, ...]] = {
    "clusterrole-aggregation-controller": (f"escalate patch update {_R} | {_GROUP}: clusterroles",),
    "bootstrap-signer": (f"{_R} | : secrets", "get list watch update | : configmaps"),
    "certificate-controller": (
        f"delete {_R} | certificates.k8s.io: certificatesigningrequests",
        (
            "update | certificates.k8s.io: certificatesigningrequests/approval "
            "certificatesigningrequests/status"
        ),
        "approve | certificates.k8s.io: signers | kubernetes.io/kube-apiserver-client-kubelet",
        (
            "sign | certificates.k8s.io: signers | kubernetes.io/kube-apiserver-client "
            "kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown"
        ),
        "create | authorization.k8s.io: subjectaccessreviews",
    ),
    "token-cleaner": (f"delete {_R} | : secrets",),
    "cronjob-controller": (
        f"update {_R} | batch: cronjobs",
        f"create delete patch update {_R} | batch: jobs",
        "update | batch: cronjobs/status cronjobs/finalizers",
        "delete list watch | : pods",
    ),
    "daemon-set-controller": (
        f"{_R} | {_EXT} daemonsets",
        f"update | {_EXT} daemonsets/status daemonsets/finalizers",
        "list watch | : nodes",
        "create delete list patch watch | : pods",
        "create | : pods/binding",
        f"create delete patch update {_R} | apps: controllerrevisions",
    ),
    "deployment-controller": (
        f"update {_R} | {_EXT} deployments",
        f"update | {_EXT} deployments/status deployments/finalizers",
        f"create delete patch update {_R} | {_EXT} replicasets",
        f"update {_R} | : pods",
    ),
    "disruption-controller": (
        f"{_R} | {_EXT} deployments replicasets",
        f"{_R} | : replicationcontrollers",
        f"{_R} | policy: poddisruptionbudgets",
        f"{_R} | apps: statefulsets",
        "update | policy: poddisruptionbudgets/status",
        "patch update | : pods/status",
        "get | *: */scale",
    ),
    "endpoint-controller": (
        f"{_R} | : pods services",
        f"create delete update {_R} | : endpoints",
        "create | : endpoints/restricted",
    ),
    "endpointslice-controller": (
        f"{_R} | : nodes pods services",
        "update | : services/finalizers",
        f"create delete update {_R} | discovery.k8s.io: endpointslices",
    ),
    "endpointslicemirroring-controller": (
        f"{_R} | : endpoints services",
        "update | : services/finalizers endpoints/finalizers",
        f"create delete update {_R} | discovery.k8s.io: endpointslices",
    ),
    "attachdetach-controller": (
        f"{_LW} | : persistentvolumes persistentvolumeclaims",
        f"{_R} | : nodes",
        "patch update | : nodes/status",
        f"{_LW} | : pods",
        f"create delete {_R} | storage.k8s.io: volumeattachments",
        f"{_R} | storage.k8s.io: csidrivers csinodes",
    ),
    "ephemeral-volume-controller": (
        "update | : pods/finalizers",
        f"{_R} | : pods",
        f"create {_R} | : persistentvolumeclaims",
    ),
    "expand-controller": (
        f"patch update {_R} | : persistentvolumes",
        "patch update | : persistentvolumeclaims/status",
        f"patch {_R} | : persistentvolumeclaims",
        f"{_R} | storage.k8s.io: storageclasses",
    ),
    "local-provisioner": (
        f"create delete patch {_R} | : persistentvolumes",
        f"{_R} | : persistentvolumeclaims",
        "patch | : persistentvolumeclaims/status",
        f"create {_R} | storage.k8s.io: storageclasses",
    ),
    "generic-garbage-collector": (f"delete patch update {_R} | *: *",),
    "horizontal-pod-autoscaler": (
        f"{_R} | autoscaling: horizontalpodautoscalers",
        "update | autoscaling: horizontalpodautoscalers/status",
        "get update | *: */scale",
        "list watch | : pods",
        "list watch | metrics.k8s.io: pods",
        f"{_R} | custom.metrics.k8s.io,external.metrics.k8s.io: *",
    ),
    "job-controller": (
        f"patch update {_R} | batch: jobs",
        "update | batch: jobs/status jobs/finalizers",
        "create delete list patch watch | : pods",
    ),
    "namespace-controller": (
        f"delete {_R} | : namespaces",
        "update | : namespaces/finalize namespaces/status",
        f"delete deletecollection {_R} | *: *",
    ),
    "node-controller": (
        f"delete patch update {_R} | : nodes",
        "patch update | : nodes/status pods/status",
        f"delete {_R} | : pods",
    ),
    "persistent-volume-binder": (
        f"create delete update {_R} | : persistentvolumes",
        "update | : persistentvolumes/status persistentvolumeclaims/status",
        f"update {_R} | : persistentvolumeclaims",
        f"create delete {_R} | : pods",
        f"{_R} | storage.k8s.io: storageclasses",
        "list watch | : nodes",
        "watch | : events",
    ),
    "pod-garbage-collector": (
        "delete list watch | : pods",
        f"{_R} | : nodes",
        "patch | : pods/status",
    ),
    "podgroup-protection-controller": (
        f"update {_R} | scheduling.k8s.io: podgroups",
        f"{_R} | : pods",
    ),
    "pv-protection-controller": (f"update {_R} | : persistentvolumes",),
    "pvc-protection-controller": (
        f"update {_R} | : persistentvolumeclaims",
        "update | : persistentvolumeclaims/status",
        f"{_R} | : pods",
    ),
    "replicaset-controller": (
        f"update {_R} | {_EXT} replicasets",
        f"update | {_EXT} replicasets/status replicasets/finalizers",
        "create delete list patch watch | : pods",
    ),
    "replication-controller": (
        f"update {_R} | : replicationcontrollers",
        "update | : replicationcontrollers/status replicationcontrollers/finalizers",
        "create delete list patch watch | : pods",
    ),
    "resourcequota-controller": ("list watch | *: *", "update | : resourcequotas/status"),
    "volumeattributesclass-protection-controller": (
        f"{_LW} | : persistentvolumes persistentvolumeclaims",
        f"update {_R} | storage.k8s.io: volumeattributesclasses",
    ),
    "podcertificaterequestcleaner": (f"delete {_R} | certificates.k8s.io: podcertificaterequests",),
    "kube-apiserver-serving-clustertrustbundle-publisher": (
        "attest | certificates.k8s.io: signers | kubernetes.io/kube-apiserver-serving",
        "create delete list update watch | certificates.k8s.io: clustertrustbundles",
    ),
    "resource-claim-controller": (
        f"{_R} | : pods",
        "patch update | : pods/finalizers pods/status",
        f"create delete patch update {_R} | resource.k8s.io: resourceclaims",
        "patch update | resource.k8s.io: resourceclaims/status",
        f"{_LW} | resource.k8s.io: resourceclaimtemplates",
    ),
    "root-ca-cert-publisher": ("create update | : configmaps",),
    "service-account-controller": ("create | : serviceaccounts",),
    "service-cidrs-controller": (
        f"patch update {_R} | networking.k8s.io: servicecidrs",
        "patch update | networking.k8s.io: servicecidrs/finalizers servicecidrs/status",
        f"{_R} | networking.k8s.io: ipaddresses",
    ),
    "service-controller": (
        f"patch {_R} | : services",
        "patch update | : services/status",
        f"{_LW} | : nodes",
    ),
    "storage-version-migrator-controller": (
        f"{_R} | storagemigration.k8s.io: storageversionmigrations",
        "update | storagemigration.k8s.io: storageversionmigrations/status",
        "get list patch | *: *",
        "patch | apiextensions.k8s.io: customresourcedefinitions/status",
    ),
    "ttl-controller": (f"patch update {_R} | : nodes",),
    "statefulset-controller": (
        f"create delete patch update {_R} | : pods",
        f"{_R} | apps: statefulsets",
        "update | apps: statefulsets/status statefulsets/finalizers",
        f"create delete patch update {_R} | apps: controllerrevisions",
        f"create delete update {_R} | : persistentvolumeclaims",
        "update | : pods/finalizers",
    ),
    "legacy-service-account-token-cleaner": (
        "get | : configmaps | kube-apiserver-legacy-service-account-token-tracking",
        "delete patch | : secrets",
    ),
    "ttl-after-finished-controller": (f"delete {_R} | batch: jobs",),
    "validatingadmissionpolicy-status-controller": (
        f"{_R} | admissionregistration.k8s.io: validatingadmissionpolicies",
        "get patch update | admissionregistration.k8s.io: validatingadmissionpolicies/status",
    ),
}

_INFORMERS = "kubernel:controller-informers"
"""Upstream's controllers read through informers that run as kube-controller-manager; ours as themselves."""

_BINDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    # binding (and role) -> subjects
    "cluster-admin": ("cluster-admin", ("Group system:masters",)),
    "system:monitoring": ("system:monitoring", ("Group system:monitoring",)),
    "system:discovery": ("system:discovery", ("Group system:authenticated",)),
    "system:basic-user": ("system:basic-user", ("Group system:authenticated",)),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        ("Group system:authenticated", "Group system:unauthenticated"),
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        ("Group system:serviceaccounts",),
    ),
    "system:node-proxier": ("system:node-proxier", ("User system:kube-proxy",)),
    "system:kube-controller-manager": (
        "system:kube-controller-manager",
        ("User system:kube-controller-manager",),
    ),
    "system:kube-scheduler": ("system:kube-scheduler", ("User system:kube-scheduler",)),
    "system:volume-scheduler": ("system:volume-scheduler", ("User system:kube-scheduler",)),
    "system:metrics-server": ("system:metrics-server", ("ServiceAccount metrics-server",)),
    "system:kube-dns": ("system:kube-dns", ("ServiceAccount kube-dns",)),
    # The node authorizer gives each node what concerns it; nobody has the role as a whole.
    "system:node": ("system:node", ()),
    "kubernel:simulated-nodes": ("system:node", ("User kubernel:simulated-nodes",)),
}


def default_objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """(plural, object) of all of them, roles before the bindings that refer to them."""
    for name, rules in _ROLES.items():
        yield "clusterroles", _role(name, rules)
    for name, (target, rules) in _AGGREGATES.items():
        yield "clusterroles", _role(name, rules, {f"{_GROUP}/aggregate-to-{target}": "true"})
    for position, name in enumerate(_AGGREGATED):
        labels = {f"{_GROUP}/aggregate-to-{_AGGREGATED[position - 1]}": "true"} if position else {}
        role = _role(name, (), labels)
        selector = {"matchLabels": {f"{_GROUP}/aggregate-to-{name}": "true"}}
        role["aggregationRule"] = {"clusterRoleSelectors": [selector]}
        yield "clusterroles", role
    for name, rules in _CONTROLLERS.items():
        yield "clusterroles", _role(f"system:controller:{name}", (*rules, _EVENTS))
    yield "clusterroles", _role(_INFORMERS, ("get list watch | *: *",))
    for name, (role_name, subjects) in _BINDINGS.items():
        yield "clusterrolebindings", _binding(name, role_name, subjects)
    for name in _CONTROLLERS:
        account = f"ServiceAccount {name}"
        yield (
            "clusterrolebindings",
            _binding(f"system:controller:{name}", f"system:controller:{name}", (account,)),
        )
    accounts = tuple(f"ServiceAccount {name}" for name in _CONTROLLERS)
    yield "clusterrolebindings", _binding(_INFORMERS, _INFORMERS, accounts)
    yield from _namespaced()


def _namespaced() -> Iterator[tuple[str, dict[str, Any]]]:
    reader = "extension-apiserver-authentication-reader"
    for namespace, name, rules in (
        (
            "kube-system",
            reader,
            (f"{_R} | : configmaps | extension-apiserver-authentication",),
        ),
        (
            "kube-system",
            "system::leader-locking-kube-controller-manager",
            ("get watch update | : configmaps | kube-controller-manager",),
        ),
        (
            "kube-system",
            "system::leader-locking-kube-scheduler",
            ("get watch update | : configmaps | kube-scheduler",),
        ),
    ):
        role = _role(name, rules)
        role["kind"] = "Role"
        role["metadata"]["namespace"] = namespace
        yield "roles", role
    for name, role_name, subjects in (
        (
            "system::extension-apiserver-authentication-reader",
            reader,
            ("User system:kube-controller-manager", "User system:kube-scheduler"),
        ),
        (
            "system::leader-locking-kube-controller-manager",
            "system::leader-locking-kube-controller-manager",
            ("User system:kube-controller-manager",),
        ),
        (
            "system::leader-locking-kube-scheduler",
            "system::leader-locking-kube-scheduler",
            ("User system:kube-scheduler",),
        ),
    ):
        binding = _binding(name, role_name, subjects)
        binding["kind"] = "RoleBinding"
        binding["metadata"]["namespace"] = "kube-system"
        binding["roleRef"]["kind"] = "Role"
        yield "rolebindings", binding


def _meta(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **labels},
    }


def _role(name: str, rules: tuple[str, ...], labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": _meta(name, labels or {}),
        "rules": [parse_rule(rule) for rule in rules],
    }


def _binding(name: str, role: str, subjects: tuple[str, ...]) -> dict[str, Any]:
    told = []
    for subject in subjects:
        kind, _, subject_name = subject.partition(" ")
        entry = {"kind": kind, "name": subject_name}
        if kind == "ServiceAccount":
            entry["namespace"] = "kube-system"
        else:
            entry["apiGroup"] = _GROUP
        told.append(entry)
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": _meta(name, {}),
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": told,
    }
