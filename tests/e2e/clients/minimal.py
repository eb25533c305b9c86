"""The smallest object of each built-in kind that the API accepts: what must be there beside a name."""

from __future__ import annotations

import base64
import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

Obj = dict[str, Any]

_LABELS = {"app": "minimal"}
_POD: Obj = {"containers": [{"name": "main", "image": "minimal"}]}
_TEMPLATE: Obj = {"metadata": {"labels": _LABELS}, "spec": _POD}
_SELECTED: Obj = {"selector": {"matchLabels": _LABELS}, "template": _TEMPLATE}
_ROLE: Obj = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}
_JOB: Obj = {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}
_DEVICES: Obj = {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu"}}]}}
_WEBHOOK: Obj = {
    "name": "minimal.example.com",
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "clientConfig": {"url": "https://127.0.0.1:1/"},
    "rules": [],
}
_RULES: Obj = {
    "resourceRules": [
        {
            "apiGroups": ["nothing.example.com"],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["nothings"],
        }
    ]
}


def _certificates() -> tuple[str, str, str]:
    """A signing request as base64 of PEM and of DER, and a certificate as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "minimal")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    stub = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        base64.b64encode(request.public_bytes(Encoding.PEM)).decode(),
        base64.b64encode(stub.public_bytes(Encoding.DER)).decode(),
        certificate.public_bytes(Encoding.PEM).decode(),
    )


_REQUEST, _STUB, _ANCHOR = _certificates()
_ID = "11111111-2222-4333-8444-555555555555"

WHAT: dict[str, Obj] = {
    "APIService": {
        "spec": {
            "group": "local.example.com",
            "version": "v1",
            "groupPriorityMinimum": 10,
            "versionPriority": 10,
        }
    },
    "CSIDriver": {"spec": {}},
    "CSINode": {"spec": {"drivers": []}},
    "CSIStorageCapacity": {"storageClassName": "none"},
    "ClusterRoleBinding": _ROLE,
    "ClusterTrustBundle": {"spec": {"trustBundle": _ANCHOR}},
    "DeviceTaintRule": {"spec": {"taint": {"key": "example.com/none", "effect": "NoSchedule"}}},
    "PodCertificateRequest": {
        "spec": {
            "signerName": "example.com/none",
            "podName": "none",
            "podUID": _ID,
            "serviceAccountName": "none",
            "serviceAccountUID": _ID,
            "nodeName": "none",
            "nodeUID": _ID,
            "stubPKCS10Request": _STUB,
        }
    },
    "StorageVersionMigration": {"spec": {"resource": {"group": "apps", "resource": "deployments"}}},
    "v1 Event": {"involvedObject": {"kind": "Pod"}},
    "events.k8s.io/v1 Event": {
        "regarding": {"kind": "Pod"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal",
        "reportingController": "example.com/none",
        "reportingInstance": "none",
        "action": "None",
        "reason": "None",
    },
    "CertificateSigningRequest": {
        "spec": {"request": _REQUEST, "signerName": "example.com/none", "usages": ["digital signature"]}
    },
    "ControllerRevision": {"revision": 1, "data": {}},
    "CronJob": {"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": _JOB}}},
    "CustomResourceDefinition": {
        "spec": {
            "group": "minimal.example.com",
            "names": {
                "plural": "minimals",
                "singular": "minimal",
                "kind": "Minimal",
                "listKind": "MinimalList",
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        }
    },
    "DaemonSet": {"spec": _SELECTED},
    "Deployment": {"spec": {**_SELECTED, "replicas": 0}},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": []},
    "FlowSchema": {"spec": {"priorityLevelConfiguration": {"name": "exempt"}}},
    "HorizontalPodAutoscaler": {
        "spec": {
            "maxReplicas": 1,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
        }
    },
    "Ingress": {"spec": {"defaultBackend": {"service": {"name": "none", "port": {"number": 80}}}}},
    "IngressClass": {"spec": {"controller": "example.com/none"}},
    "IPAddress": {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "none"}}},
    "Job": {"spec": {**_JOB, "suspend": True}},
    "MutatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": _RULES,
            "reinvocationPolicy": "Never",
            "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}
            ],
        }
    },
    "MutatingAdmissionPolicyBinding": {"spec": {"policyName": "none"}},
    "MutatingWebhookConfiguration": {"webhooks": [_WEBHOOK]},
    "PersistentVolume": {
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/none"},
        }
    },
    "PersistentVolumeClaim": {
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "none",
        }
    },
    "Pod": {"spec": {**_POD, "schedulerName": "nobody"}},
    "PodTemplate": {"template": _TEMPLATE},
    "PriorityClass": {"value": 1},
    "PriorityLevelConfiguration": {
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
    },
    "ReplicaSet": {"spec": {**_SELECTED, "replicas": 0}},
    "ReplicationController": {"spec": {"selector": _LABELS, "template": _TEMPLATE, "replicas": 0}},
    "ResourceClaim": {"spec": _DEVICES},
    "ResourceClaimTemplate": {"spec": {"spec": _DEVICES}},
    "ResourceSlice": {
        "spec": {
            "driver": "none.example.com",
            "nodeName": "none",
            "pool": {"name": "none", "generation": 1, "resourceSliceCount": 1},
        }
    },
    "RoleBinding": _ROLE,
    "RuntimeClass": {"handler": "none"},
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "ServiceCIDR": {"spec": {"cidrs": ["10.250.0.0/24"]}},
    "StatefulSet": {"spec": {**_SELECTED, "replicas": 0, "serviceName": "none"}},
    "StorageClass": {"provisioner": "example.com/none"},
    "ValidatingAdmissionPolicy": {
        "spec": {"matchConstraints": _RULES, "validations": [{"expression": "true"}]}
    },
    "ValidatingAdmissionPolicyBinding": {"spec": {"policyName": "none", "validationActions": ["Deny"]}},
    "ValidatingWebhookConfiguration": {"webhooks": [_WEBHOOK]},
    "VolumeAttachment": {
        "spec": {"attacher": "example.com", "nodeName": "none", "source": {"persistentVolumeName": "none"}}
    },
    "VolumeAttributesClass": {"driverName": "none.example.com", "parameters": {"a": "b"}},
}

NAMES = {
    "CustomResourceDefinition": "minimals.minimal.example.com",
    "IPAddress": "10.251.0.1",
    "APIService": "v1.local.example.com",
}
"""Kinds whose names mean something."""


def minimal(api_version: str, kind: str, name: str, namespace: str) -> Obj:
    meta: Obj = {"name": NAMES.get(kind, name)}
    if namespace:
        meta["namespace"] = namespace
    rest = WHAT.get(f"{api_version} {kind}") or WHAT.get(kind) or {}
    for about in {"involvedObject", "regarding"} & rest.keys():
        rest = {**rest, about: {**rest[about], "namespace": namespace}}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **rest}
