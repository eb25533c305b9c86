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
    description="The kind of its parameters.",
)

WEBHOOKS = (
    NAME,
    Column(
        "Webhooks",
        count("webhooks"),
        type="integer",
        description="How many webhooks it lists.",
    ),
    AGE,
)
VALIDATING_ADMISSION_POLICY = (
    NAME,
    Column(
        "Validations",
        count("spec", "validations"),
        type="integer",
        description="How many rules it has.",
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
        description="How many mutations it has.",
    ),
    _PARAM_KIND,
    AGE,
)
POLICY_BINDING = (
    NAME,
    Column("PolicyName", text("spec", "policyName"), description="The policy that is bound."),
    Column("ParamRef", _param_ref, description="Where its parameters are."),
    AGE,
)
API_SERVICE = (
    NAME,
    Column("Service", _service, description="The service that answers, or Local."),
    Column("Available", _available, description="Whether it answers."),
    AGE,
)
