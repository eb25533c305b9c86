"""The counts kept by pod events are those of the pods that are there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubernel.objects import meta
from kubernel.objects.selectors import from_labels
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.podcounts import PodCounts, Tally
from kubernel_plugins.controller.podranks import PodRanks, Ranks

NOW = 1_800_000_000.0
STAMPS = ("2027-01-15T07:59:50Z", "2027-01-15T08:00:00Z", None)
LABELS = ({}, {"app": "web"}, {"app": "web", "tier": "front"}, {"app": "other"})


@st.composite
def pod(draw: st.DrawFn, name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": name, "labels": draw(st.sampled_from(LABELS))}
    kind, owner = draw(
        st.sampled_from((("ReplicaSet", "one"), ("ReplicaSet", "two"), ("Job", "one"), ("", "")))
    )
    if owner:
        metadata["ownerReferences"] = [{"kind": kind, "uid": owner, "controller": True}]
    if draw(st.booleans()):
        metadata["deletionTimestamp"] = STAMPS[0]
    status: dict[str, Any] = {"phase": draw(st.sampled_from(("Pending", "Running", "Succeeded", "Failed")))}
    since = draw(st.sampled_from(STAMPS))
    if since is not None:
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    return {"metadata": metadata, "spec": {}, "status": status}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, dict[str, Any] | None]]:
    """Pods as they come, change and (None) go."""
    names = draw(st.lists(st.sampled_from("abc"), max_size=12))
    return [(name, draw(st.none() | pod(name))) for name in names]


@given(histories(), st.sampled_from((0, 5, 3600)))
def test_counts_after_any_history_are_those_of_the_pods_left(
    history: list[tuple[str, dict[str, Any] | None]], min_ready: int
) -> None:
    counted, held = PodCounts("ReplicaSet"), {}
    for name, new in history:
        old = held.pop(name, None)
        if new is not None:
            held[name] = new
            counted.observe("MODIFIED" if old else "ADDED", new, old)
        elif old is not None:
            counted.observe("DELETED", old, old)
    selector, template = from_labels({"app": "web"}), {"app": "web", "tier": "front"}
    for uid in ("one", "two"):
        owned = [
            one
            for one in held.values()
            if (meta.controller_of(one) or {}).get("uid") == uid
            and (meta.controller_of(one) or {})["kind"] == "ReplicaSet"
        ]
        kept = counted.of(uid)
        counts = kept.counts(selector, template, min_ready, NOW)
        assert counts == Tally(owned).counts(selector, template, min_ready, NOW)
        assert kept.has_strangers(selector) == any(
            pods.is_active(one) and not selector.matches(meta.labels(one)) for one in owned
        )
        mine = [one for one in owned if selector.matches(meta.labels(one))]
        active = [one for one in mine if pods.is_active(one)]
        assert counts.active == len(active)
        assert counts.labelled == sum(meta.labels(one) == template for one in active)
        assert counts.ready == sum(pods.is_ready(one) for one in active)
        assert counts.available == sum(pods.is_available(one, min_ready, NOW) for one in active)
        assert counts.terminating == sum(meta.is_deleting(one) and not pods.is_finished(one) for one in mine)


@given(histories(), st.integers(0, 4))
def test_those_to_go_after_any_history_are_those_of_the_pods_left(
    history: list[tuple[str, dict[str, Any] | None]], count: int
) -> None:
    ranks, held = PodRanks("ReplicaSet"), {}
    for name, new in history:
        old = held.pop(name, None)
        if new is not None:
            held[name] = {**new, "metadata": {**new["metadata"], "creationTimestamp": STAMPS[0]}}
            ranks.observe("MODIFIED" if old else "ADDED", held[name], old)
        elif old is not None:
            ranks.observe("DELETED", old, old)
    for uid in ("one", "two"):
        owned = [
            one
            for one in held.values()
            if (owner := meta.controller_of(one)) and (owner["kind"], owner["uid"]) == ("ReplicaSet", uid)
        ]
        fresh = Ranks(owned)
        assert ranks.of(uid).nodes == fresh.nodes
        assert sorted(map(meta.uid, ranks.of(uid).first(count, {}, NOW))) == sorted(
            map(meta.uid, fresh.first(count, {}, NOW))
        )
        assert len(fresh.first(count, {}, NOW)) == min(count, sum(map(pods.is_active, owned)))
