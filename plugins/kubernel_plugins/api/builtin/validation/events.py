"""Events of both shapes, which one rule book judges in the shape of core/v1.

Source: pkg/apis/core/validation/events.go (v1.37).
"""

from __future__ import annotations

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.values import Found, Obj, named

__all__ = ["event", "event_update"]

_ZERO = {"count": 0, "source": {}}
_LIMITS = (("reportingInstance", 128), ("action", 128), ("reason", 128))
_LONGEST_NOTE = 1024
_IMMUTABLE = (
    ("involvedObject", "core.ObjectReference"),
    ("reason", ""),
    ("message", ""),
    ("source", "core.EventSource"),
    ("firstTimestamp", ""),
    ("lastTimestamp", ""),
    ("count", ""),
    ("reason", ""),
    ("type", ""),
    ("eventTime", ""),
    ("action", ""),
    ("related", "core.ObjectReference"),
    ("reportingComponent", ""),
    ("reportingInstance", ""),
)
"""What events.k8s.io/v1 never changes, and the Go type in which a refusal shows it."""


def event(obj: Obj, *, strict: bool) -> Found:
    """``strict``: created as events.k8s.io/v1; in the shape of core/v1 either way."""
    found = _common(obj, strict)
    if not strict:
        return found
    _series(obj, found)
    if not obj.get("eventTime"):
        found.append(causes.required("eventTime"))
    type = obj.get("type") or ""
    if type not in ("Normal", "Warning"):
        found.append(causes.invalid("type", "", f"has invalid value: {type}"))
    found += [
        causes.invalid(key, "", "needs to be unset")
        for key in ("firstTimestamp", "lastTimestamp", "count", "source")
        if obj.get(key)
    ]
    return found


def event_update(obj: Obj, old: Obj, *, strict: bool) -> Found:
    found = _common(obj, strict)
    if not strict:
        return found
    if obj.get("series") != old.get("series"):
        _series(obj, found)
    for key, type in _IMMUTABLE:
        new, was = obj.get(key), old.get(key)
        if (new or None) != (was or None):
            zero = "" if key not in ("eventTime", "firstTimestamp", "lastTimestamp", "related") else None
            shown = (
                go_value(type, new or {})
                if type and (new or key != "related")
                else new or _ZERO.get(key, zero)
            )
            found.append(causes.invalid(key, shown, causes.FIELD_IMMUTABLE))
    return found


def _series(obj: Obj, found: Found) -> None:
    series = obj.get("series")
    if series is None:
        return
    if (series.get("count") or 0) < 2:
        found.append(causes.invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        found.append(causes.required("series.lastObservedTime"))


def _common(obj: Obj, strict: bool) -> Found:
    found: Found = []
    own = obj["metadata"].get("namespace") or ""
    about = (obj.get("involvedObject") or {}).get("namespace") or ""
    other = causes.invalid("involvedObject.namespace", about, "does not match event.namespace")
    if not obj.get("eventTime"):
        if about != own and (about or own != "default"):
            found.append(other)
        return found
    if not about and own not in ("default", "kube-system"):
        found.append(other)
    controller, where = (
        obj.get("reportingComponent") or "",
        "reportingController" if strict else "reportingComponent",
    )
    if not controller:
        found.append(causes.required(where))
    named(controller, where, names.check_qualified_name, found)
    for key, limit in _LIMITS:
        text = obj.get(key) or ""
        if not text:
            found.append(causes.required(key))
        if len(text.encode()) > limit:
            found.append(causes.invalid(key, "", f"can have at most {limit} characters"))
    if len((obj.get("message") or "").encode()) > _LONGEST_NOTE:
        found.append(causes.invalid("message", "", f"can have at most {_LONGEST_NOTE} characters"))
    return found
