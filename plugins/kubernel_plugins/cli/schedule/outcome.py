"""What became of the pods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from kubernel.objects import conditions, meta, quantity
from kubernel_plugins.cli.schedule.tables import write

if TYPE_CHECKING:
    from kubernel.store.records import Obj
    from kubernel.testing import Cluster

__all__ = ["Outcome"]

_Place = tuple[str, str]


class Outcome:
    """The pods of a cluster before (``contents``) and afterwards (in ``fork``).

    ``pending``: pods without a node, with the reason. ``refused``: pods that could not be evicted, and why.
    """

    def __init__(self, contents: Sequence[Obj], fork: Cluster, refused: Mapping[_Place, str]) -> None:
        self._owners: dict[str, Obj] = {}
        self._before = [obj for obj in contents if obj["kind"] == "Pod" and not _ended(obj)]
        self._after = [obj for obj in fork.list("pods") if not _ended(obj)]
        self._nodes = fork.list("nodes")
        self.refused = refused
        for obj in (*contents, *_owners(fork)):
            self._owners[meta.uid(obj)] = obj
        self.pending = {_place(pod): _why(pod) for pod in self._after if not _node(pod)}
        self.missing = dict(self._missing(fork))

    # --- telling

    def as_dict(self) -> dict[str, Any]:
        was = {meta.uid(pod): pod for pod in self._before}
        now = {meta.uid(pod) for pod in self._after}
        return {
            "pods": [
                {
                    "namespace": _place(pod)[0],
                    "name": _place(pod)[1],
                    "workload": self._workload(pod),
                    "node": _node(pod) or None,
                    "was": _node(was[meta.uid(pod)]) or None if meta.uid(pod) in was else None,
                    "new": meta.uid(pod) not in was,
                }
                for pod in self._after
            ],
            "gone": [
                {
                    "namespace": _place(pod)[0],
                    "name": _place(pod)[1],
                    "workload": self._workload(pod),
                    "was": _node(pod),
                }
                for pod in self._before
                if meta.uid(pod) not in now
            ],
            "pending": _entries(self.pending),
            "notEvicted": _entries(self.refused),
            "notCreated": [{"workload": name, "reason": why} for name, why in self.missing.items()],
        }

    def write(self, to: TextIO) -> None:
        rows = self._moves()
        if rows:
            write(to, [("WORKLOAD", "NODE", "NOW", "THEN"), *rows])
        else:
            to.write("No pod would move.\n")
        to.write("\n")
        write(to, [("NODE", "PODS", "CPU", "MEMORY"), *self._loads()])
        for title, found in (
            ("Would stay pending:", self.pending),
            ("Would not be evicted:", self.refused),
        ):
            if found:
                to.write(f"\n{title}\n")
                for why, places in _by_reason(found).items():
                    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
                    to.write(f"  {', '.join('/'.join(place) for place in places[:3])}{more}: {why}\n")
        if self.missing:
            to.write("\nWould not be created:\n")
            for name, why in self.missing.items():
                to.write(f"  pods of {name}: {why}\n")

    def _moves(self) -> list[tuple[str, str, str, str]]:
        """Of each workload the nodes on which it would have more or fewer pods."""
        before = Counter((self._workload(pod), _node(pod)) for pod in self._before)
        after = Counter((self._workload(pod), _node(pod)) for pod in self._after)
        return [
            (workload, node or "(pending)", str(before[workload, node]), str(after[workload, node]))
            for workload, node in sorted({*before, *after})
            if before[workload, node] != after[workload, node]
        ]

    def _loads(self) -> Iterator[tuple[str, str, str, str]]:
        for node in self._nodes:
            name, offered = node["metadata"]["name"], meta.get(node, "status", "allocatable", default={})
            pods = [pod for pod in self._after if _node(pod) == name]
            cells = [f"{len(pods)}/{offered.get('pods', 0)}"]
            for resource in ("cpu", "memory"):
                asked = sum(_requested(pod, resource) for pod in pods)
                there = quantity.to_int_milli(offered.get(resource, 0))
                cells.append(f"{100 * asked // there}%" if there else "-")
            yield (name, cells[0], cells[1], cells[2])

    # --- whose

    def _workload(self, pod: Obj) -> str:
        """``namespace/Kind/name`` of what made what made … the pod; its own name when nothing did."""
        obj, told = pod, f"{_place(pod)[0]}/Pod/{_place(pod)[1]}"
        while (owner := meta.controller_of(obj)) is not None:
            told = f"{_place(pod)[0]}/{owner['kind']}/{owner['name']}"
            found = self._owners.get(owner["uid"])
            if found is None:
                break
            obj = found
        return told

    def _missing(self, fork: Cluster) -> Iterator[tuple[str, str]]:
        for obj in _owners(fork):
            found = conditions.find(obj, "ReplicaFailure")
            if found is not None and found["status"] == "True" and obj["kind"] != "Deployment":
                yield self._workload(obj), found.get("message", "")


def _owners(fork: Cluster) -> list[Obj]:
    resources = (
        "replicasets.v1.apps",
        "deployments.v1.apps",
        "statefulsets.v1.apps",
        "daemonsets.v1.apps",
        "replicationcontrollers",
        "jobs.v1.batch",
    )
    return [obj for resource in resources for obj in fork.list(resource)]


def _place(obj: Obj) -> _Place:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _node(pod: Obj) -> str:
    return pod["spec"].get("nodeName") or ""


def _ended(pod: Obj) -> bool:
    return meta.get(pod, "status", "phase", default="") in ("Succeeded", "Failed")


def _why(pod: Obj) -> str:
    found = conditions.find(pod, "PodScheduled") or {}
    return found.get("message") or found.get("reason") or "not looked at yet"


def _requested(pod: Obj, resource: str) -> int:
    """Thousandths of what its containers request together."""
    return sum(
        quantity.to_int_milli(meta.get(container, "resources", "requests", default={}).get(resource, 0))
        for container in pod["spec"]["containers"]
    )


def _by_reason(found: Mapping[_Place, str]) -> dict[str, list[_Place]]:
    reasons: dict[str, list[_Place]] = {}
    for place, why in found.items():
        reasons.setdefault(why, []).append(place)
    return reasons


def _entries(found: Mapping[_Place, str]) -> list[dict[str, str]]:
    return [{"namespace": place[0], "name": place[1], "reason": why} for place, why in found.items()]
