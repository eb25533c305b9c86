"""Which pods of a DaemonSet are to be deleted and where new ones are to be made.

``steady`` looks after every node on its own; ``roll`` replaces old pods within the limits of the update strategy.
Both only decide. Source: k8s.io/kubernetes/pkg/controller/daemon/{daemon_controller,update}.go (v1.37).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, times
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.daemonset.placement import (
    GENERATION_LABEL,
    STAYS_AWAY,
    Fit,
    template_generation,
)
from kubernel_plugins.controller.revisions import HASH_LABEL

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plan", "View", "roll", "steady"]


@dataclass(slots=True)
class Plan:
    create: list[str] = field(default_factory=list)
    """Names of nodes."""
    delete: list[Obj] = field(default_factory=list)


@dataclass(slots=True)
class View:
    """A DaemonSet's pods by node. ``fits`` has every node, ``by_node`` those with pods."""

    daemons: Obj
    digest: str
    now: float
    fits: Mapping[str, Fit]
    by_node: Mapping[str, Sequence[Obj]]

    def is_new(self, pod: Obj) -> bool:
        labels = meta.labels(pod)
        generation = template_generation(self.daemons)
        return labels.get(HASH_LABEL) == self.digest or (
            generation is not None and labels.get(GENERATION_LABEL) == generation
        )

    def available(self, pod: Obj) -> bool:
        return pods.is_available(pod, self.daemons["spec"].get("minReadySeconds", 0), self.now)

    @property
    def desired(self) -> int:
        return sum(fit.runs for fit in self.fits.values())

    @property
    def limits(self) -> tuple[int, int]:
        """(maxUnavailable, maxSurge), both rounded up; never both 0."""
        rolling = meta.get(self.daemons, "spec", "updateStrategy", "rollingUpdate", default={})
        desired = self.desired
        unavailable = _share(rolling.get("maxUnavailable", 1), desired)
        surge = _share(rolling.get("maxSurge", 0), desired)
        return (unavailable, surge) if unavailable or surge else (1, 0)

    @property
    def surges(self) -> bool:
        strategy: Mapping[str, Any] = self.daemons["spec"].get("updateStrategy") or {}
        surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", 0)
        return strategy.get("type") == "RollingUpdate" and surge not in (0, "0%")


def _share(value: int | str, of: int) -> int:
    return value if isinstance(value, int) else math.ceil(int(value.rstrip("%")) * of / 100)


def age(pod: Obj) -> tuple[bool, float, str]:
    """Sort key: bound ones first, then the oldest."""
    unbound = not (pod.get("spec") or {}).get("nodeName")
    return unbound, times.parse(pod["metadata"]["creationTimestamp"]), meta.name(pod)


def steady(view: View, ended: Callable[[str, Obj], bool]) -> Plan:
    """One pod on each node that should have one, none elsewhere.

    ``ended(node, pod)`` is asked for pods that have ended: whether they may be deleted now.
    """
    plan = Plan()
    for node, fit in view.fits.items():
        found = view.by_node.get(node)
        if not found:
            if fit.runs:
                plan.create.append(node)
            continue
        present = [pod for pod in found if not meta.is_deleting(pod)]
        if not fit.stays:
            plan.delete += present
            continue
        running: list[Obj] = []
        for pod in present:
            if not pods.is_finished(pod):
                running.append(pod)
            elif ended(node, pod):
                plan.delete.append(pod)
        running.sort(key=age)
        if not view.surges:
            plan.delete += running[1:]
        elif len(running) > 1:
            plan.delete += _beyond_a_pair(view, running)
        elif not running and fit.runs:
            # The old one may take its time to end: the new one need not wait for it.
            plan.create.append(node)
    for node, found in view.by_node.items():
        if node not in view.fits:
            # The node is gone before the scheduler put the pod there.
            plan.delete += [
                pod for pod in found if not meta.is_deleting(pod) and not pod["spec"].get("nodeName")
            ]
    return plan


def _beyond_a_pair(view: View, running: Sequence[Obj]) -> list[Obj]:
    """With surge, an available old pod and a new one that is not yet are the only two that may be together."""
    new: Obj | None = None
    old: Obj | None = None
    spare: list[Obj] = []
    for pod in running:
        if view.is_new(pod) and new is None:
            new = pod
        elif not view.is_new(pod) and old is None:
            old = pod
        else:
            spare.append(pod)
    if new is not None and old is not None and (not pods.is_ready(old) or view.available(new)):
        spare.append(old)
    return spare


def roll(view: View) -> Plan:
    """The next step from the old template to the new."""
    by_node = {name: view.by_node.get(name, ()) for name, fit in view.fits.items() if fit.runs}
    by_node |= view.by_node
    unavailable, surge = view.limits
    return _roll_surging(view, by_node, surge) if surge else _roll(view, by_node, unavailable)


def _pair(view: View, found: Sequence[Obj]) -> tuple[Obj | None, Obj | None] | None:
    """(new, old) pod of a node; None when there are too many to say."""
    new: Obj | None = None
    old: Obj | None = None
    for pod in found:
        if meta.is_deleting(pod):
            continue
        if view.is_new(pod):
            if new is not None:
                return None
            new = pod
        else:
            if old is not None:
                return None
            old = pod
    return new, old


def _roll(view: View, by_node: Mapping[str, Sequence[Obj]], limit: int) -> Plan:
    missing = 0
    broken: list[Obj] = []
    candidates: list[Obj] = []
    for found in by_node.values():
        pair = _pair(view, found)
        if pair is None or (pair[0] is None) == (pair[1] is None):
            missing += 1
            continue
        new, old = pair
        if new is not None:
            missing += not view.available(new)
        elif old is not None:
            (candidates if view.available(old) else broken).append(old)
    missing += len(broken)
    return Plan(delete=[*broken, *candidates[: max(limit - missing, 0)]])


def _roll_surging(view: View, by_node: Mapping[str, Sequence[Obj]], limit: int) -> Plan:
    plan = Plan()
    surging = available = 0
    allowed: list[str] = []
    candidates: list[str] = []
    unwanted: list[Obj] = []
    for node, found in by_node.items():
        pair = _pair(view, found)
        if pair is None:
            surging += 1
            continue
        new, old = pair
        counted = old or new
        available += counted is not None and view.available(counted)
        if old is None:
            continue
        if new is not None:
            if view.available(new):
                plan.delete.append(old)
            else:
                surging += 1
        elif not view.fits.get(node, STAYS_AWAY).runs:
            (unwanted if view.available(old) else plan.delete).append(old)
        elif view.available(old):
            candidates.append(node)
        else:
            allowed.append(node)
    # A pod that no longer belongs where it is goes once another one is available in its stead.
    plan.delete += unwanted[: max(available - view.desired, 0)]
    plan.create = [*allowed, *candidates[: max(limit - surging, 0)]]
    return plan
