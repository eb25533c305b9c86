"""Node selector terms over the node table (k8s.io/component-helpers/scheduling/corev1/nodeaffinity)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Mask, Nodes, Rows

__all__ = ["any_term", "required_affinity", "selected", "term"]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def required_affinity(spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What of the pod's spec decides where it may go; None when it may go anywhere."""
    selector = spec.get("nodeSelector")
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    return {"nodeSelector": selector, "required": required} if selector or required is not None else None


def selected(affinity: Mapping[str, Any], nodes: Nodes, rows: Rows) -> Mask:
    """Where an answer of ``required_affinity`` holds."""
    fits = nodes.live[rows]
    for key, value in (affinity["nodeSelector"] or {}).items():
        fits = fits & (nodes.label(key)[rows] == nodes.label_values(key).get(value, -2))
    if affinity["required"] is not None:
        fits = fits & any_term(affinity["required"].get("nodeSelectorTerms") or (), nodes, rows)
    return fits


def any_term(terms: Iterable[Mapping[str, Any]], nodes: Nodes, rows: Rows) -> Mask:
    """Terms are ORed; an empty term matches nothing."""
    fits = numpy.zeros_like(nodes.live[rows])
    for each in terms:
        fits |= term(each, nodes, rows)
    return fits


def term(term: Mapping[str, Any], nodes: Nodes, rows: Rows) -> Mask:
    labels, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not labels and not fields:
        return numpy.zeros_like(nodes.live[rows])
    fits = nodes.live[rows]
    for requirement in labels:
        fits = fits & _by_label(requirement, nodes, rows)
    for requirement in fields:
        fits = fits & _by_name(requirement, nodes, rows)
    return fits


def _by_label(requirement: Mapping[str, Any], nodes: Nodes, rows: Rows) -> Mask:
    key, operator = requirement["key"], requirement["operator"]
    ids = nodes.label(key)[rows]
    if operator == "Exists":
        return ids >= 0
    if operator == "DoesNotExist":
        return ids < 0
    known = nodes.label_values(key)
    values: list[str] = requirement.get("values") or []
    if operator in ("In", "NotIn"):
        wanted = [known[value] for value in values if value in known]
        there: Mask = ids == wanted[0] if len(wanted) == 1 else numpy.isin(ids, wanted)
        return there if operator == "In" else ~there
    if operator not in ("Gt", "Lt") or len(values) != 1 or not _INTEGER.fullmatch(values[0]):
        return numpy.zeros_like(ids, dtype=bool)
    bound, greater = int(values[0]), operator == "Gt"
    # The element past the last value is what id -1, no label, finds.
    holds = numpy.zeros(len(known) + 1, dtype=bool)
    for text, number in known.items():
        if _INTEGER.fullmatch(text):
            holds[number] = int(text) > bound if greater else int(text) < bound
    return holds[ids]


def _by_name(requirement: Mapping[str, Any], nodes: Nodes, rows: Rows) -> Mask:
    """The one field that nodes are selected by is ``metadata.name``."""
    fits = numpy.zeros(len(nodes), dtype=bool)
    if requirement["key"] != "metadata.name" or requirement["operator"] not in ("In", "NotIn"):
        return fits[rows]
    for name in requirement.get("values") or ():
        if (row := nodes.row(name)) is not None:
            fits[row] = True
    return fits[rows] if requirement["operator"] == "In" else ~fits[rows]
