"""Defaults of all types with a pod template."""

from __future__ import annotations

from typing import Any

from kubernel_plugins.api.builtin.strategies.base import field
from kubernel_plugins.api.builtin.strategies.pod_defaults import default_pod_spec

__all__ = ["default_template"]


def default_template(template: Any) -> None:
    spec = field(template, "spec")
    if isinstance(spec, dict):
        default_pod_spec(spec)
        account = spec.get("serviceAccountName") or spec.get("serviceAccount")
        if account:
            spec["serviceAccountName"] = spec["serviceAccount"] = account
