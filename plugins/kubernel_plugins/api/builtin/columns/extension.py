"""Columns of what extends the API server."""

from __future__ import annotations

from kubernel.registry.types import Column
from kubernel_plugins.api.builtin.columns.common import AGE, NAME, Obj, at, count, text

__all__ = [
    "API_SERVICE",
    "MUTATING_ADMISSION_POLICY",
    "POLICY_BINDING",
    "VALIDATING_ADMISSION_POLICY",
    "WEBHOOKS",
]


def _param_kind(obj: Obj, now: float) -> str:
    kind = at(obj, "spec", "paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else "<unset>"


def _param_ref(obj: Obj, now: float) -> str:
    reference = at(obj, "spec", "paramRef")
    if not reference:
        return "<unset>"
    if reference.get("namespace"):
        return f"{reference['namespace']}/{reference.get('name', '')}"
    return f"*/{reference['name']}" if reference.get("name") else "*"


def _service(obj: Obj, now: float) -> str:
    service = at(obj, "spec", "service")
    return f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"


def _available(obj: Obj, now: float) -> str:
    for condition in at(obj, "status", "conditions") or ():
        if condition.get("type") == "Available":
            status = condition.get("status", "Unknown")
            return status if status == "True" else f"{status} ({condition.get('reason', '')})"
    return "Unknown"


_PARAM_KIND = Column(
    "ParamKind",
    _param_kind,
    description="ParamKind specifies the kind of resources used to parameterize this policy",
)

WEBHOOKS = (
    NAME,
    Column(
        "Webhooks",
        count("webhooks"),
        type="integer",
        description="Webhooks indicates the number of webhooks registered in this configuration",
    ),
    AGE,
)
VALIDATING_ADMISSION_POLICY = (
    NAME,
    Column(
        "Validations",
        count("spec", "validations"),
        type="integer",
        description="Validations indicates the number of validation rules defined in this configuration",
    ),
    _PARAM_KIND,
    AGE,
)
MUTATING_ADMISSION_POLICY = (
    NAME,
    Column(
        "Mutations",
        count("spec", "mutations"),
        type="integer",
        description="Mutation indicates the number of mutations rules defined in this configuration",
    ),
    _PARAM_KIND,
    AGE,
)
POLICY_BINDING = (
    NAME,
    Column("PolicyName", text("spec", "policyName"), description="The policy that is bound."),
    Column("ParamRef", _param_ref, description="The param resource which sets the configuration param."),
    AGE,
)
API_SERVICE = (
    NAME,
    Column("Service", _service, description="The reference to the service that hosts this API endpoint."),
    Column("Available", _available, description="Whether this service is available."),
    AGE,
)
