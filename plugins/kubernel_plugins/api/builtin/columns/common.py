"""What the columns of all types share: names, ages, lists with an end, selectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from kubernel.objects.times import human_duration
from kubernel.registry.types import Column

__all__ = [
    "AGE",
    "DEFAULT",
    "NAME",
    "NAME_AGE",
    "age",
    "at",
    "container_names",
    "count",
    "first_or",
    "format_labels",
    "format_selector",
    "human_duration",
    "images",
    "integer",
    "seconds",
    "since",
    "some",
    "template_columns",
    "text",
]

Obj = dict[str, Any]

_NAME_TEXT = "The object's name, unique among its kind in its namespace."
_CREATED_TEXT = "When the server created the object."


def at(obj: Any, *path: str) -> Any:
    """The value at a path, None where it is absent."""
    for step in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(step)
    return obj


def seconds(timestamp: str | None) -> float | None:
    """Epoch seconds of an RFC 3339 time; None for an absent one."""
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None


def since(timestamp: str | None, now: float) -> str:
    """How long ago, ``<unknown>`` for an absent time."""
    then = seconds(timestamp)
    return "<unknown>" if then is None else human_duration(now - then)


def age(obj: Obj, now: float) -> str:
    return since(at(obj, "metadata", "creationTimestamp"), now)


def text(*path: str, absent: str = "") -> Callable[[Obj, float], str]:
    """The field as a string."""

    def cell(obj: Obj, now: float) -> str:
        value = at(obj, *path)
        return absent if value is None or value == "" else str(value)

    return cell


def integer(*path: str) -> Callable[[Obj, float], int]:
    """The field as a number, 0 when absent."""

    def cell(obj: Obj, now: float) -> int:
        return int(at(obj, *path) or 0)

    return cell


def count(*path: str) -> Callable[[Obj, float], int]:
    """How many entries the list or map has."""

    def cell(obj: Obj, now: float) -> int:
        return len(at(obj, *path) or ())

    return cell


def first_or(values: Iterable[str], absent: str = "<none>") -> str:
    """The values joined by commas, ``absent`` when there is none."""
    return ",".join(values) or absent


def some(values: list[str], total: int, limit: int = 3, absent: str = "<unset>") -> str:
    """At most ``limit`` of ``values`` and how many more there are."""
    shown = ",".join(values[:limit])
    if total > limit:
        return f"{shown} + {total - limit} more..."
    return shown or absent


def format_labels(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def format_selector(selector: Mapping[str, Any] | None, absent: str = "<none>") -> str:
    """A LabelSelector object as the text that queries use."""
    if selector is None:
        return absent
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        key, operator = rule.get("key", ""), rule.get("operator")
        values = ",".join(sorted(rule.get("values") or ()))
        shown = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }.get(operator, "<error>")
        parts.append((key, shown))
    return ",".join(shown for _, shown in sorted(parts, key=lambda part: part[0])) or absent


def container_names(*path: str) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        return ",".join(one.get("name", "") for one in at(obj, *path) or ())

    return cell


def images(*path: str) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        return ",".join(one.get("image", "") for one in at(obj, *path) or ())

    return cell


def template_columns(*template: str, priority: int = 1) -> tuple[Column, Column]:
    """Containers and Images of the pod template at this path."""
    path = (*template, "spec", "containers")
    return (
        Column(
            "Containers",
            container_names(*path),
            description="The names of the template's containers.",
            priority=priority,
        ),
        Column(
            "Images",
            images(*path),
            description="The images of the template's containers.",
            priority=priority,
        ),
    )


NAME = Column("Name", text("metadata", "name"), format="name", description=_NAME_TEXT)
AGE = Column("Age", age, description=_CREATED_TEXT)
NAME_AGE = (NAME, AGE)
DEFAULT = (
    NAME,
    Column(
        "Created At",
        text("metadata", "creationTimestamp"),
        type="date",
        description=_CREATED_TEXT,
    ),
)
"""Types for which upstream has no printer."""
