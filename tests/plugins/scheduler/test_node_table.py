"""What the node table counts, against counting anew."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from kubernel.objects.selectors import Requirement, Selector, from_labels
from kubernel.plugin.scheduling import PodMatcher, PodState
from kubernel_plugins.scheduler.default.pods import pod_state
from kubernel_plugins.scheduler.default.table import NodeTable


def pod(number: int, labels: dict[str, str]) -> PodState:
    return PodState({}, f"uid-{number}", f"ns-{number % 2}", f"pod-{number}", labels, {}, (0, 0), 0)


def matcher(number: int) -> PodMatcher:
    selector = from_labels({"app": f"app-{number % 700}"})
    if number % 5 == 0:
        selector = Selector([Requirement("app", "in", (f"app-{number}", f"app-{number + 1}"))])
    elif number % 7 == 0:
        selector = Selector([Requirement("tier", "exists"), Requirement("app", "=", (f"app-{number}",))])
    return PodMatcher(frozenset({f"ns-{number % 2}", "other"}), (selector,))


def test_pods_are_counted_for_more_matchers_than_are_kept() -> None:
    rng = random.Random(1)
    table = NodeTable()
    there: dict[str, tuple[PodState, str]] = {}
    for number in range(20):
        table.set_node({"metadata": {"name": f"node-{number}"}})
    for step in range(3000):
        number = rng.randrange(1000)
        labels = {"app": f"app-{number % 900}"} | ({"tier": "front"} if number % 3 else {})
        state, node = pod(number, labels), f"node-{rng.randrange(20)}"
        if state.uid in there and step % 2:
            table.take_off(state.uid)
            del there[state.uid]
        else:
            table.place(state, node)
            there[state.uid] = state, node
        asked = matcher(rng.randrange(800))
        counts = table.matching(asked)
        wanted = Counter(at for each, at in there.values() if asked.matches(each))
        assert {name: counts[table.row(name)] for name in table.names() if counts[table.row(name)]} == wanted


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, 500, id="nothing-said"),
        pytest.param({"granted": "300m", "actual": "300m"}, 500, id="asks-for-more"),
        pytest.param({"granted": "500m", "actual": "800m"}, 800, id="still-has-more"),
        pytest.param({"granted": "900m", "actual": "100m"}, 900, id="was-granted-more"),
        pytest.param({"granted": "300m", "actual": "200m", "infeasible": True}, 300, id="cannot-be"),
    ],
)
def test_a_pod_that_is_resized_counts_with_the_most_of_what_it_has_and_asks_for(
    status: dict[str, Any], expected: int
) -> None:
    resized: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}}],
            "overhead": {"cpu": "0"},
        },
        "status": {},
    }
    if status:
        told = {"allocatedResources": {"cpu": status["granted"]}}
        told["resources"] = {"requests": {"cpu": status["actual"]}}
        resized["status"] = {"containerStatuses": [{"name": "c", **told}]}
    if status.get("infeasible"):
        pending = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
        resized["status"]["conditions"] = [pending]
    assert pod_state(resized).requests == {"cpu": expected}
