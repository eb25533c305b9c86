"""The scale subresource: how many replicas, as autoscaling/v1 Scale."""

from __future__ import annotations

from typing import Any

from kubernel.errors import Invalid
from kubernel.objects import selectors
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import field

__all__ = ["read_scale", "write_scale"]

Obj = dict[str, Any]

_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def _selector(obj: Obj) -> str:
    selector = field(obj, "spec", "selector")
    if selector is None:
        return ""
    if obj.get("kind") == "ReplicationController":
        return selectors.from_labels(selector).to_string()
    return selectors.from_object(selector).to_string()


def read_scale(obj: Obj) -> Obj:
    """What GET of ``scale`` answers. Replicas live at ``spec.replicas`` and ``status.replicas`` in every
    built-in type that has them."""
    meta = obj["metadata"]
    replicas = field(obj, "spec", "replicas")
    status: Obj = {"replicas": field(obj, "status", "replicas") or 0}
    selector = _selector(obj)
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in _METADATA if key in meta},
        # A Scale does not tell that nothing is wanted.
        "spec": {} if replicas == 0 else {"replicas": 1 if replicas is None else replicas},
        "status": status,
    }


def write_scale(obj: Obj, scale: Obj) -> Obj:
    """``obj`` with the scale's replicas; Invalid for anything but a count."""
    replicas = field(scale, "spec", "replicas") or 0
    name = obj["metadata"]["name"]
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        cause = causes.invalid("spec.replicas", replicas, "must be an integer")
        raise Invalid.for_object("Scale", "autoscaling", name, [cause])
    if replicas < 0:
        cause = causes.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise Invalid.for_object("Scale", "autoscaling", name, [cause])
    return {**obj, "spec": {**obj.get("spec", {}), "replicas": replicas}}
