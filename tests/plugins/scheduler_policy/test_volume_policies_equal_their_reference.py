"""On clusters made by chance the policies of volumes say what a plain look at each node finds, while pods come and go
and claims are bound."""

from __future__ import annotations

from typing import Any

import pytest
import scalar_volumes as plain
from hypothesis import given, settings
from hypothesis import strategies as st
from scalar_reference import World
from scalar_volumes import BOUND, DRIVER, SELECTED, Storage
from scheduling_kit import Objects, node, pod, started, table
from volume_kit import csi_node

from kubernel.plugin.scheduling import PodState, Policy
from kubernel_plugins.scheduler.default.cycle import Evaluation, Weighed
from kubernel_plugins.scheduler.default.pods import pod_state
from kubernel_plugins.scheduler_policy.node_volume_limits.policy import NodeVolumeLimits
from kubernel_plugins.scheduler_policy.volume_binding.policy import VolumeBinding
from kubernel_plugins.scheduler_policy.volume_restrictions.policy import VolumeRestrictions
from kubernel_plugins.scheduler_policy.volume_zone.policy import VolumeZone

Obj = dict[str, Any]
NODES = ("n0", "n1", "n2", "n3")
CLAIMS = ("c0", "c1", "c2", "c3")
ZONE, OLD_ZONE = "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"
RESOURCES = {
    "claims": "persistentvolumeclaims",
    "volumes": "persistentvolumes",
    "classes": "storageclasses.v1.storage.k8s.io",
    "drivers": "csidrivers.v1.storage.k8s.io",
    "pools": "csistoragecapacities.v1.storage.k8s.io",
    "csi_nodes": "csinodes.v1.storage.k8s.io",
    "attachments": "volumeattachments.v1.storage.k8s.io",
}
GCE = [{"gcePersistentDisk": {"pdName": "d", "readOnly": flag}} for flag in (True, False)]
RBD = [{"rbd": {"image": "d", "monitors": [monitor], "readOnly": False}} for monitor in "ab"]
DISKS = [*GCE, *RBD, {"awsElasticBlockStore": {"volumeID": "d"}}, {"iscsi": {"iqn": "d", "readOnly": True}}]
CLASSES: dict[str, Obj] = {
    "waits": {"provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer"},
    "local": {
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    },
    "now": {"provisioner": DRIVER, "volumeBindingMode": "Immediate"},
}


def some(draw: Any, *choices: Any) -> Any:
    return draw(st.sampled_from(choices))


def often(draw: Any, usual: Any, *others: Any) -> Any:
    """Mostly the same: what cannot be had at all hides everything else."""
    return some(draw, *[usual] * 2 * len(others), *others)


def claim(draw: Any, name: str, volumes: list[str]) -> Obj:
    mode, phase = often(draw, "ReadWriteOnce", "ReadWriteOncePod"), "Pending"
    spec: Obj = {
        "accessModes": [mode],
        "storageClassName": often(draw, "waits", "waits", "local", "now", "gone"),
        "resources": {"requests": {"storage": f"{draw(st.integers(1, 4))}Gi"}},
    }
    annotations = {}
    how = often(draw, "free", "bound", "bound", "bound", "half", "chosen", "lost")
    if how in ("bound", "half", "lost"):
        spec["volumeName"] = some(draw, *volumes, *volumes, "gone")
    if how == "bound":
        annotations[BOUND], phase = "yes", "Bound"
    if how == "lost":
        phase = "Lost"
    if how == "chosen":
        annotations[SELECTED] = some(draw, *NODES)
    metadata = {"name": name, "namespace": "default", "uid": name, "annotations": annotations}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


def volume(draw: Any, number: int, claims: dict[str, Obj]) -> Obj:
    name = f"v{number}"
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [some(draw, *NODES), "n0"]}
    labels = some(draw, {}, {}, {ZONE: "a"}, {ZONE: "a__b"}, {OLD_ZONE: "b"})
    spec: Obj = {
        # Different sizes: of two that are equal any may be taken.
        "capacity": {"storage": f"{number + 1}Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": some(draw, "waits", "local"),
        "csi": {"driver": DRIVER, "volumeHandle": some(draw, name, name, "shared")},
    }
    if draw(st.booleans()):
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    for each in claims.values():
        if each["spec"].get("volumeName") == name:
            spec["claimRef"] = {"name": each["metadata"]["name"], "namespace": "default"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"phase": "Bound" if "claimRef" in spec else "Available"},
    }


@st.composite
def storages(draw: Any) -> Storage:
    names = [f"v{number}" for number in range(5)]
    claims = {name: claim(draw, name, names) for name in CLAIMS if often(draw, True, True, True, False)}
    volumes = {
        f"v{number}": volume(draw, number, claims) for number in some(draw, (), (0,), (1, 3), range(5))
    }
    classes = {
        name: {"metadata": {"name": name}, **its}
        for name, its in CLASSES.items()
        if name != "now" or draw(st.booleans())
    }
    if some(draw, True, False, False):
        allowed = {"key": ZONE, "values": ["a"]}
        classes["waits"]["allowedTopologies"] = [{"matchLabelExpressions": [allowed]}]
    spec = {"storageCapacity": often(draw, True, False), "preventPodSchedulingIfMissing": draw(st.booleans())}
    pools = {}
    for number in range(some(draw, 1, 2, 3)):
        pool: Obj = {
            "metadata": {"name": f"p{number}", "namespace": "default"},
            "storageClassName": "waits",
            "capacity": f"{draw(st.integers(2, 9))}Gi",
            "nodeTopology": {"matchLabels": some(draw, {ZONE: "a"}, {ZONE: "b"}, {}, {})},
        }
        if draw(st.booleans()):
            pool["maximumVolumeSize"] = f"{draw(st.integers(1, 4))}Gi"
        pools[f"p{number}"] = pool
    attachments = {
        f"a{number}": {
            "metadata": {"name": f"a{number}"},
            "spec": {
                "attacher": DRIVER,
                "nodeName": some(draw, *NODES),
                "source": {"persistentVolumeName": some(draw, *names)},
            },
        }
        for number in range(draw(st.integers(0, 2)))
    }
    csi_nodes = {}
    for name in NODES:
        its = csi_node(name, some(draw, 1, 2, 3, None))
        if some(draw, False, False, True):
            its["spec"]["drivers"] = []
        if some(draw, True, True, True, False):
            csi_nodes[name] = its
    drivers = {DRIVER: {"metadata": {"name": DRIVER}, "spec": spec}} if often(draw, True, False) else {}
    return Storage(claims, volumes, classes, drivers, pools, csi_nodes, attachments)


@st.composite
def pods(draw: Any) -> PodState:
    named = draw(st.lists(st.sampled_from((*CLAIMS, "c9")), min_size=2, max_size=3, unique=True))
    found = [
        {"persistentVolumeClaim": {"claimName": name}}
        for name in named
        if name != "c9" or often(draw, False, True)
    ]
    found += draw(st.lists(st.sampled_from(DISKS), max_size=2))
    return pod(volumes=[{"name": f"v{number}", **each} for number, each in enumerate(found)])


@st.composite
def clusters(draw: Any) -> list[Obj]:
    found = []
    for name in NODES:
        zone = some(draw, "a", "a", "b", "b", None)
        key = often(draw, ZONE, OLD_ZONE)
        labels = {"kubernetes.io/hostname": name, **({key: zone} if zone else {})}
        found.append(node(name, labels=labels))
    return found


class Made:
    """A world with volumes, and a policy that looks at what an API would hold of it."""

    def __init__(self, cls: type[Policy], nodes: list[Obj], storage: Storage) -> None:
        self.world = World({each["metadata"]["name"]: each for each in nodes})
        self.storage = storage
        self.table = table(*nodes)
        self.objects = {
            resource: Objects(*getattr(storage, part).values()) for part, resource in RESOURCES.items()
        }
        self.objects["pods"] = Objects()
        self.policy = started(cls, self.table, {}, self.objects)

    def place(self, wanted: PodState, on: str) -> None:
        its = pod_state({**wanted.pod, "spec": {**wanted.pod["spec"], "nodeName": on}})
        self.world.placed.append((its, on))
        self.table.place(its, on)
        self.objects["pods"].set(its.pod)

    def happen(self, change: tuple[str, Any, Any]) -> None:
        kind, what, more = change
        if kind == "place":
            self.place(what, more)
        elif kind == "take off" and self.world.placed:
            gone, _ = self.world.placed.pop(what % len(self.world.placed))
            self.table.take_off(gone.uid)
            self.objects["pods"].remove(gone.name, gone.namespace)
        elif kind == "bind" and what in self.storage.claims:
            before = self.storage.claims[what]
            metadata = {**before["metadata"], "annotations": {BOUND: "yes"}}
            after = {
                "metadata": metadata,
                "spec": {**before["spec"], "volumeName": more},
                "status": {"phase": "Bound"},
            }
            self.storage.claims[what] = after
            self.objects[RESOURCES["claims"]].set(after)
        elif kind == "detach" and self.storage.attachments:
            name, _ = self.storage.attachments.popitem()
            self.objects[RESOURCES["attachments"]].remove(name)


changes = st.one_of(
    st.tuples(st.just("place"), pods(), st.sampled_from(NODES)),
    st.tuples(st.just("take off"), st.integers(0, 9), st.none()),
    st.tuples(st.just("bind"), st.sampled_from(CLAIMS), st.sampled_from(("v0", "v1", "gone"))),
    st.tuples(st.just("detach"), st.none(), st.none()),
)
FILTERS = [
    pytest.param(VolumeRestrictions, plain.restriction_refusals, id="VolumeRestrictions"),
    pytest.param(VolumeZone, plain.zone_refusals, id="VolumeZone"),
    pytest.param(NodeVolumeLimits, plain.limit_refusals, id="NodeVolumeLimits"),
    pytest.param(VolumeBinding, plain.binding_refusals, id="VolumeBinding"),
]


def began(cls: type[Policy], data: st.DataObject) -> Made:
    made = Made(cls, data.draw(clusters()), data.draw(storages()))
    for each, where in data.draw(st.lists(st.tuples(pods(), st.sampled_from(NODES)), max_size=6)):
        made.place(each, where)
    return made


@pytest.mark.parametrize(("cls", "reference"), FILTERS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_same_nodes_are_refused_for_the_same_reasons(
    cls: type[Policy], reference: Any, data: st.DataObject
) -> None:
    made, wanted = began(cls, data), data.draw(pods())
    evaluation = Evaluation([made.policy], [], made.table)
    for change in (None, *data.draw(st.lists(changes, max_size=4))):
        if change is not None:
            made.happen(change)
        found, fits = evaluation.explain(wanted), evaluation.fitting(wanted)
        for name, its in made.world.nodes.items():
            expected = reference(wanted, its, made.world, made.storage)
            assert found[name]["refusals"].get(cls.name, []) == expected, name
            assert bool(fits[made.table.row(name)]) == (not expected), name


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_nodes_are_scored_by_how_full_volumes_or_pools_would_be(data: st.DataObject) -> None:
    made, wanted = began(VolumeBinding, data), data.draw(pods())
    evaluation = Evaluation([made.policy], [Weighed(made.policy, 1)], made.table)
    for change in (None, *data.draw(st.lists(changes, max_size=2))):
        if change is not None:
            made.happen(change)
        found = evaluation.explain(wanted)
        fits = [name for name in made.world.nodes if not found[name]["refusals"]]
        told = {name: found[name]["scores"].get("VolumeBinding", 0) for name in fits}
        assert told == plain.binding_scores(wanted, made.world, made.storage, fits)


def test_where_a_volume_is_taken_it_alone_is_scored() -> None:
    """Not the pool from which another claim of the pod would be provided."""

    def wanting(name: str, size: str) -> Obj:
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "waits",
            "resources": {"requests": {"storage": size}},
        }
        metadata = {"name": name, "namespace": "default", "uid": name, "annotations": {}}
        return {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}

    volume = {
        "metadata": {"name": "v", "labels": {}},
        "spec": {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "waits",
            "csi": {"driver": DRIVER, "volumeHandle": "v"},
        },
        "status": {"phase": "Available"},
    }
    pool = {
        "metadata": {"name": "p", "namespace": "default"},
        "storageClassName": "waits",
        "capacity": "8Gi",
        "maximumVolumeSize": "4Gi",
        "nodeTopology": {"matchLabels": {}},
    }
    storage = Storage(
        {"a": wanting("a", "1Gi"), "b": wanting("b", "4Gi")},
        {"v": volume},
        {"waits": {"metadata": {"name": "waits"}, **CLASSES["waits"]}},
        {DRIVER: {"metadata": {"name": DRIVER}, "spec": {"storageCapacity": True}}},
        {"p": pool},
    )
    made = Made(VolumeBinding, [node("n0", labels={"kubernetes.io/hostname": "n0"})], storage)
    claims = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in "ab"]
    for wanted, score in (
        (pod(volumes=claims), 50),
        (pod(volumes=claims[1:]), 50),
        (pod(volumes=claims[:1]), 50),
    ):
        evaluation = Evaluation([made.policy], [Weighed(made.policy, 1)], made.table)
        (found,) = evaluation.explain(wanted).values()
        assert found["refusals"] == {}
        assert found["scores"]["VolumeBinding"] == score
