"""Policies and bindings for tests."""

from __future__ import annotations

from typing import Any

from kubernel.testing import Cluster

GROUP = "admissionregistration.k8s.io"
POLICIES = f"validatingadmissionpolicies.v1.{GROUP}"
DEPLOYMENTS = "deployments.v1.apps"


def rules(
    *resources: str, groups: tuple[str, ...] = ("*",), operations: tuple[str, ...] = ("*",), **more: Any
) -> dict[str, Any]:
    rule = {
        "apiGroups": list(groups),
        "apiVersions": ["*"],
        "operations": list(operations),
        "resources": list(resources),
    }
    return {"resourceRules": [rule], **more}


def policy(name: str, *expressions: str, kind: str = "Validating", **spec: Any) -> dict[str, Any]:
    made = {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{kind}AdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"matchConstraints": rules("deployments"), **spec},
    }
    if expressions:
        made["spec"]["validations"] = [{"expression": expression} for expression in expressions]
    return made


def binding(name: str, kind: str = "Validating", **spec: Any) -> dict[str, Any]:
    actions = {"validationActions": ["Deny"]} if kind == "Validating" else {}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{kind}AdmissionPolicyBinding",
        "metadata": {"name": f"{name}-binding"},
        "spec": {"policyName": name, **actions, **spec},
    }


def bind(cluster: Cluster, made: dict[str, Any], **spec: Any) -> None:
    """Create a policy with one binding, and let the plugin see them."""
    kind = made["kind"].removesuffix("AdmissionPolicy")
    cluster.create(made)
    cluster.create(binding(made["metadata"]["name"], kind, **spec))
    cluster.settle()


def deployment(name: str = "web", replicas: int = 3, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/app:1"}]},
            },
        },
    }
