"""Which NoExecute taints allocated devices have, and when they drive the pods away that use them.

Source: ``claimEvictionTime`` and ``podEvictionTime`` of
k8s.io/kubernetes/pkg/controller/devicetainteviction/device_taint_eviction.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, times
from kubernel_plugins.podclaims import claim_name, entries
from kubernel_plugins.scheduler_policy.tolerations import tolerates

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.store.records import Obj

__all__ = ["BY_POOL", "Devices", "Eviction", "is_evicting", "matches", "pool_of", "published", "tainted"]

BY_POOL = "pool"
"""The index of slices by ``driver/pool``."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """When a pod has to go, in epoch seconds, and the uids of the DeviceTaintRules that have a part in it."""

    at: float
    rules: frozenset[str]


def pool_of(driver: str, pool: str) -> str:
    return f"{driver}/{pool}"


def is_evicting(taint: Mapping[str, Any]) -> bool:
    return taint.get("effect") == "NoExecute"


def matches(rule: Obj, driver: str, pool: str, device: str) -> bool:
    """Whether the rule's selector selects the device; without a selector it selects none."""
    selector = rule["spec"].get("deviceSelector")
    if selector is None:
        return False
    here = {"driver": driver, "pool": pool, "device": device}
    return all(selector.get(field) in (None, value) for field, value in here.items())


def tainted(slices: Iterable[Obj]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Name -> NoExecute taints of the devices in a pool's newest generation that have any."""
    return {
        device["name"]: found
        for device in published(slices)
        if (found := [taint for taint in device.get("taints") or () if is_evicting(taint)])
    }


def published(slices: Iterable[Obj]) -> Iterator[Mapping[str, Any]]:
    """The devices in the newest generation of one pool's slices."""
    specs = [each["spec"] for each in slices]
    newest = max((spec["pool"].get("generation", 0) for spec in specs), default=0)
    for spec in specs:
        if spec["pool"].get("generation", 0) == newest:
            yield from spec.get("devices") or ()


class Devices:
    """What is known of claims, slices and rules."""

    def __init__(self, claims: Informer, slices: Informer) -> None:
        self._claims = claims
        self._slices = slices

    def pod_eviction(self, pod: Obj, rules: Iterable[Obj]) -> Eviction | None:
        """When these rules, all of which taint NoExecute, and the taints that drivers publish drive the pod away;
        None when they do not."""
        if not pod["spec"].get("nodeName"):
            return None
        rules = list(rules)
        found = [each for claim in self._of(pod) if (each := self._claim_eviction(claim, rules)) is not None]
        if not found:
            return None
        return Eviction(min(each.at for each in found), frozenset().union(*(each.rules for each in found)))

    def _of(self, pod: Obj) -> Iterator[Obj]:
        """The claims that are allocated and reserved for the pod."""
        for entry in entries(pod):
            name = claim_name(pod, entry)
            claim = self._claims.get(name, meta.namespace(pod)) if name else None
            if claim is None or meta.get(claim, "status", "allocation") is None:
                continue
            made_for = (
                meta.controller_of(claim) if not entry.get("resourceClaimName") else {"uid": meta.uid(pod)}
            )
            users = meta.get(claim, "status", "reservedFor", default=())
            if (made_for or {}).get("uid") == meta.uid(pod) and any(
                user.get("uid") == meta.uid(pod) for user in users
            ):
                yield claim

    def _claim_eviction(self, claim: Obj, rules: Sequence[Obj]) -> Eviction | None:
        soonest: float | None = None
        having: set[str] = set()
        for result in meta.get(claim, "status", "allocation", "devices", "results", default=()):
            place = result["driver"], result["pool"], result["device"]
            slices = self._slices.by(BY_POOL, pool_of(*place[:2]))
            taints = [("", taint) for taint in tainted(slices).get(place[2], ())]
            taints += [(meta.uid(rule), rule["spec"]["taint"]) for rule in rules if matches(rule, *place)]
            for rule, taint in taints:
                at = _time(taint, result.get("tolerations") or ())
                if at is None:
                    continue
                soonest = at if soonest is None else min(soonest, at)
                if rule:
                    having.add(rule)
        return None if soonest is None else Eviction(soonest, frozenset(having))


def _time(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> float | None:
    """When the taint's time is up for who has these tolerations; None for never."""
    seconds: list[int] = []
    for toleration in tolerations:
        if not is_evicting(toleration) or not tolerates(toleration, {**taint, "effect": "NoExecute"}):
            continue
        if toleration.get("tolerationSeconds") is None:
            return None
        seconds.append(max(toleration["tolerationSeconds"], 0))
    return times.parse(taint["timeAdded"]) + min(seconds, default=0)
