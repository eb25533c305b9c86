"""A fork of a running cluster: its objects in a cluster in memory, with simulated nodes and a virtual clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.config import parse
from kubernel.testing import Cluster

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.config import Configuration
    from kubernel.config.configuration import Choice
    from kubernel.store.records import Obj

__all__ = ["forked", "read"]

_GROUPS = frozenset(
    (
        "",
        "admissionregistration.k8s.io",
        "apps",
        "batch",
        "node.k8s.io",
        "policy",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    )
)
"""What decides about pods."""
_LEFT = frozenset(("componentstatuses", "endpoints", "events", "secrets"))
_CONTROLLERS = frozenset(
    (
        "daemonset",
        "deployment",
        "disruption",
        "ephemeralvolume",
        "job",
        "namespace",
        "persistentvolume",
        "replicaset",
        "replicationcontroller",
        "resourcequota",
        "serviceaccount",
        "statefulset",
    )
)
"""Those that make or count pods, or bind their claims; of the rest nothing is to happen here, least of all on disks."""
_ELSEWHERE = ("mutating_webhook", "validating_webhook", "taint_nodes")
"""Admission that others would hear of, or whose taint a controller takes away that the fork does without."""


async def read(client: Client) -> list[Obj]:
    """Everything that decides about pods, as it was at one revision; secrets are not read."""
    revision, found, seen = "", [], set()
    for each in await client.discover():
        group, plural = each["group"], each["resource"]
        if group not in _GROUPS or plural in _LEFT or (group, plural) in seen or "list" not in each["verbs"]:
            continue
        seen.add((group, plural))
        version = f"{group}/{each['version']}" if group else each["version"]
        resource = f"{plural}.{each['version']}.{group}" if group else plural
        listed = await client.list(resource, at=revision)
        revision = revision or listed.resource_version
        found += [{**obj, "apiVersion": version, "kind": each["kind"]} for obj in listed.items]
    return found


def forked(
    config: Configuration,
    contents: Sequence[Obj],
    *,
    now: float,
    controllers: Collection[str] = _CONTROLLERS,
    lead: bool = True,
) -> Cluster:
    """The cluster with the types, admission and scheduler of ``config``, at the time ``now``. Without ``lead``
    another holds the scheduler's lease: it knows everything and decides nothing."""
    fixed = parse(
        {
            "plugins": {
                "store": "memory",
                "auth": [],
                "api": [],
                "network": None,
                "runtime": None,
                "proxy": None,
                "node": [{"simulated": {"nodes": 0, "adopt": True}}],
                "cli": [],
            }
        }
    ).plugins
    chosen: dict[str, Any] = {role: fixed[role] for role in fixed}
    for role in ("types", "scheduler", "scheduler_policy"):
        chosen[role] = config.plugins[role]
    # Extenders would hear of what is only supposed, and bind pods of the real cluster.
    chosen["scheduler"] = tuple(_alone(each) for each in config.plugins["scheduler"])
    chosen["controller"] = tuple(each for each in config.plugins["controller"] if each.name in controllers)
    chosen["admission"] = tuple(each for each in config.plugins["admission"] if each.name not in _ELSEWHERE)
    cluster = dataclasses.replace(config.cluster, data_dir=Path(), leader_election=not lead)
    everything = list(contents) if lead else [*contents, _lease()]
    return Cluster(
        dataclasses.replace(config, cluster=cluster, plugins=chosen),
        contents=everything,
        start=now,
        freeze=False,
    )


def _alone(scheduler: Choice) -> Choice:
    section = scheduler.section
    if scheduler.name != "default" or "askExtenders" in (section.value or {}):
        return scheduler
    off = dataclasses.replace(section, value=False, path=f"{section.path}.askExtenders")
    return dataclasses.replace(
        scheduler, section=dataclasses.replace(section, value={**(section.value or {}), "askExtenders": off})
    )


def _lease() -> Obj:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "kube-scheduler", "namespace": "kube-system", "uid": "another"},
        "spec": {
            "holderIdentity": "another",
            "leaseDurationSeconds": 15,
            "renewTime": "2000-01-01T00:00:00.000000Z",
        },
    }
