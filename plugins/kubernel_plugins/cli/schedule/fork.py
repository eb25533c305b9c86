"""A fork of a running cluster: its objects in a cluster in memory, with simulated nodes and a virtual clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.config import parse
from kubernel.objects import conditions
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
_DEFINITIONS = "customresourcedefinitions.v1.apiextensions.k8s.io"
_SERVICES = "apiservices.v1.apiregistration.k8s.io"
_DEFINITION = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
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
    """Everything that decides about pods, as it was at one revision, and custom resources, also those that other
    servers serve: policies of third parties may look at them. Secrets are not read."""
    revision, found, seen = "", [], set()
    discovered = await client.discover()
    for each in discovered:
        group, plural = each["group"], each["resource"]
        if group not in _GROUPS or plural in _LEFT or (group, plural) in seen or "list" not in each["verbs"]:
            continue
        seen.add((group, plural))
        listed = await client.list(_resource(plural, each["version"], group), at=revision)
        revision = revision or listed.resource_version
        found += [{**obj, **_type(group, each["version"], each["kind"])} for obj in listed.items]
    return [*found, *await _custom(client, revision), *await _of_other_servers(client, discovered)]


async def _custom(client: Client, revision: str) -> list[Obj]:
    """Custom resources in the version that is stored, and their definitions. No webhook is asked to convert them: one
    would have to be reached from here."""
    found: list[Obj] = []
    for definition in (await client.list(_DEFINITIONS, at=revision)).items:
        spec = definition["spec"]
        stored = next(each for each in spec["versions"] if each.get("storage"))
        if not conditions.is_true(definition, "Established") or not stored.get("served"):
            continue
        alone = {**spec, "conversion": {"strategy": "None"}}
        found.append({**definition, **_DEFINITION, "spec": alone})
        version, group = stored["name"], spec["group"]
        listed = await client.list(_resource(spec["names"]["plural"], version, group), at=revision)
        found += [{**obj, **_type(group, version, spec["names"]["kind"])} for obj in listed.items]
    return found


async def _of_other_servers(client: Client, discovered: Sequence[Mapping[str, Any]]) -> list[Obj]:
    """What servers behind an APIService have now, as custom resources of the fork."""
    remote = {
        (each["spec"].get("group", ""), each["spec"].get("version", ""))
        for each in (await client.list(_SERVICES)).items
        if each["spec"].get("service") and conditions.is_true(each, "Available")
    }
    found: list[Obj] = []
    seen = set()
    for each in discovered:
        group, version, plural = each["group"], each["version"], each["resource"]
        if (group, version) not in remote or (group, plural) in seen or "list" not in each["verbs"]:
            continue
        seen.add((group, plural))
        found.append(_definition(each))
        listed = await client.list(_resource(plural, version, group))
        found += [{**obj, **_type(group, version, each["kind"])} for obj in listed.items]
    return found


def _definition(each: Mapping[str, Any]) -> Obj:
    """That has the fork serve what was discovered, whatever is in it."""
    group, plural = each["group"], each["resource"]
    names = {
        "plural": plural,
        "singular": each["singular"] or each["kind"].lower(),
        "kind": each["kind"],
        "listKind": f"{each['kind']}List",
        "shortNames": each["short_names"],
    }
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": each["version"],
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": anything},
    }
    return {
        **_DEFINITION,
        "metadata": {"name": f"{plural}.{group}", "uid": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if each["namespaced"] else "Cluster",
            "names": names,
            "versions": [version],
        },
        "status": {
            "acceptedNames": names,
            "storedVersions": [each["version"]],
            "conditions": [
                {"type": type, "status": "True", "reason": "Served", "message": ""}
                for type in ("NamesAccepted", "Established")
            ],
        },
    }


def _resource(plural: str, version: str, group: str) -> str:
    return f"{plural}.{version}.{group}" if group else plural


def _type(group: str, version: str, kind: str) -> Obj:
    return {"apiVersion": f"{group}/{version}" if group else version, "kind": kind}


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
        served_later=_served_later(contents),
        start=now,
        freeze=False,
    )


def _served_later(contents: Sequence[Obj]) -> dict[tuple[str, str], str]:
    """Custom resources by (group, kind): how the store calls them."""
    specs = [obj["spec"] for obj in contents if obj["kind"] == _DEFINITION["kind"]]
    return {
        (spec["group"], spec["names"]["kind"]): f"{spec['names']['plural']}.{spec['group']}" for spec in specs
    }


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
