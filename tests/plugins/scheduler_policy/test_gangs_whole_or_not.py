"""Whatever groups come in whatever order: enough pods of a group have a node or none has, and no node is overfull."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_gang_scheduling import group, member
from workload_kit import pod

from kubernel.testing import Cluster

NODES, CPUS = 2, 3
CONFIG = {
    "plugins": {
        "types": [{"builtin": {"serve": ["scheduling.k8s.io/v1beta1"]}}],
        "node": [{"simulated": {"nodes": NODES, "cpu": str(CPUS)}}],
        "controller": ["bootstrap", "namespace", "serviceaccount"],
        "admission": ["*", "-taint_nodes"],
        "scheduler_policy": ["*", "gang_scheduling"],
    }
}

shapes = st.lists(
    st.tuples(st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
)
"""For each group how many pods have to be placed together, and how many CPUs each of its pods asks for."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shapes=shapes, data=st.data())
def test_gangs_are_placed_whole_or_not_at_all(
    shapes: Sequence[tuple[int, Sequence[int]]], data: st.DataObject
) -> None:
    pods = [
        (f"g{number}-{index}", f"g{number}", cpus)
        for number, (_, asked) in enumerate(shapes)
        for index, cpus in enumerate(asked)
    ]
    with Cluster(CONFIG) as cluster:
        for number, (minimum, _) in enumerate(shapes):
            cluster.create(group(f"g{number}", minimum))
        for name, of, cpus in data.draw(st.permutations(pods)):
            cluster.create(member(name, of, cpu=str(cpus)))
            if data.draw(st.booleans()):
                cluster.settle()
        cluster.create(pod("alone"))
        cluster.clock.advance(30)
        # Nodes take pods at all.
        assert cluster.get("pods", "alone")["spec"].get("nodeName")
        used: Counter[str] = Counter()
        placed: Counter[str] = Counter()
        for name, of, cpus in pods:
            if node := cluster.get("pods", name)["spec"].get("nodeName"):
                used[node] += cpus
                placed[of] += 1
        assert all(cpus <= CPUS for cpus in used.values())
        for number, (minimum, _) in enumerate(shapes):
            count = placed[f"g{number}"]
            assert count == 0 or count >= minimum
