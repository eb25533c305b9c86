"""The configuration as a whole: the cluster's settings and which plugins run, by role."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kubernel.config.cluster import ClusterSettings
from kubernel.config.convert import suggest, to_dataclass
from kubernel.config.document import Marked, read, wrap
from kubernel.errors import ConfigError

__all__ = [
    "API_VERSION",
    "DEFAULT_PLUGINS",
    "DRIVER_ROLES",
    "KIND",
    "Choice",
    "Configuration",
    "load",
    "parse",
    "settings",
]

API_VERSION = "kubernel.dev/v1"
KIND = "Configuration"
_DEFAULTS = "<defaults>"

T = TypeVar("T")

DEFAULT_PLUGINS: Mapping[str, tuple[str, ...]] = {
    "store": ("sqlite",),
    "types": ("builtin", "custom"),
    "auth": ("x509", "token", "bootstrap_token", "serviceaccount", "anonymous", "node", "rbac"),
    "admission": (
        "namespace_lifecycle",
        "limitranger",
        "serviceaccount",
        "node_restriction",
        "taint_nodes",
        "pod_security",
        "priority",
        "default_tolerations",
        "storage",
        "pod_group_protection",
        "runtime_class",
        "certificates",
        "default_ingress_class",
        "pod_topology_labels",
        "node_declared_features",
        "pod_resize",
        "mutating_policy",
        "mutating_webhook",
        "validating_policy",
        "validating_webhook",
        "resourcequota",
    ),
    "audit": ("log",),
    "api": ("http", "metrics"),
    "controller": (
        "bootstrap",
        "apiregistration",
        "customresources",
        "flowcontrol",
        "namespace",
        "serviceaccount",
        "serviceaccounttoken",
        "legacytokencleaner",
        "rootca",
        "servingtrustbundle",
        "deployment",
        "replicaset",
        "replicationcontroller",
        "daemonset",
        "statefulset",
        "job",
        "cronjob",
        "horizontalpodautoscaler",
        "ttlafterfinished",
        "endpoints",
        "endpointslice",
        "endpointslicemirroring",
        "garbage",
        "nodelifecycle",
        "tainteviction",
        "devicetainteviction",
        "podgc",
        "persistentvolume",
        "local_provisioner",
        "pvcprotection",
        "pvprotection",
        "vacprotection",
        "podgroupprotection",
        "volumeexpand",
        "ephemeralvolume",
        "resourceclaim",
        "attachdetach",
        "csrsigning",
        "csrapproving",
        "csrcleaner",
        "podcertificatecleaner",
        "bootstrapsigner",
        "tokencleaner",
        "servicecidrs",
        "serviceips",
        "loadbalancer",
        "nodettl",
        "leasegc",
        "apiserveridentity",
        "storageversionmigrator",
        "disruption",
        "resourcequota",
        "validating_policy_status",
    ),
    "scheduler_policy": (
        "scheduling_gates",
        "priority_sort",
        "node_name",
        "node_unschedulable",
        "taint_toleration",
        "node_affinity",
        "node_ports",
        "node_resources_fit",
        "volume_restrictions",
        "node_volume_limits",
        "volume_binding",
        "volume_zone",
        "pod_topology_spread",
        "inter_pod_affinity",
        "dynamic_resources",
        "default_preemption",
        "node_resources_balanced_allocation",
        "image_locality",
        "default_binder",
        "node_declared_features",
    ),
    "scheduler": ("default",),
    "network": ("host",),
    "runtime": ("process",),
    "node": ("kubelet",),
    "proxy": ("userspace",),
    "cli": ("cluster", "history", "security", "schedule", "why"),
}
"""What runs when the configuration does not name a role: parts of kubernel's own distribution. The
order is the one in which plugins start and hooks are called."""

DRIVER_ROLES = frozenset({"store", "network", "runtime", "proxy"})
"""Roles with exactly one plugin, or none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One plugin that the configuration names, and its section."""

    name: str
    section: Marked

    @property
    def place(self) -> str:
        """``file:line: `` of where it is named, to begin a message with; empty for a default."""
        line = self.section.key_line or self.section.line
        if self.section.source == _DEFAULTS:
            return ""
        return f"{self.section.source}:{line}: " if line else f"{self.section.source}: "


def _default_choices(role: str) -> tuple[Choice, ...]:
    return tuple(
        Choice(name, Marked({}, _DEFAULTS, 0, f"plugins.{role}.{name}")) for name in DEFAULT_PLUGINS[role]
    )


def _default_plugins() -> Mapping[str, tuple[Choice, ...]]:
    return {role: _default_choices(role) for role in DEFAULT_PLUGINS}


@dataclass(frozen=True, slots=True)
class Configuration:
    """A checked configuration. ``plugins`` holds every role, in start order."""

    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    plugins: Mapping[str, tuple[Choice, ...]] = field(default_factory=_default_plugins)
    source: Path | None = None

    def with_cluster(self, **changes: Any) -> Configuration:
        """A copy with other cluster settings (the command line's options); None leaves one alone."""
        wanted = {key: value for key, value in changes.items() if value is not None}
        if "name" in wanted and "data_dir" not in wanted:
            wanted["data_dir"] = Path()
        try:
            return dataclasses.replace(self, cluster=dataclasses.replace(self.cluster, **wanted))
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def enabled(self, role: str, name: str) -> bool:
        return any(choice.name == name for choice in self.plugins.get(role, ()))


def load(path: Path | None = None) -> Configuration:
    """The configuration in ``path``; None is the defaults."""
    if path is None:
        return Configuration()
    return _configuration(read(path), path)


def parse(data: Mapping[str, Any], source: str = "<configuration>") -> Configuration:
    """The configuration in plain data, as YAML would give it; ``apiVersion`` and ``kind`` may be left out."""
    header = {"apiVersion": API_VERSION, "kind": KIND}
    return _configuration(wrap({**header, **data}, source), None)


def settings(cls: type[T], choice: Choice) -> T:
    """One plugin's section as its settings class; ConfigError names the line."""
    if not choice.section.value:
        return to_dataclass(cls, dataclasses.replace(choice.section, value={}))
    return to_dataclass(cls, choice.section)


def _configuration(document: Marked, path: Path | None) -> Configuration:
    if not isinstance(document.value, dict):
        raise document.error(f"expected apiVersion, kind, cluster and plugins, got {document.kind}")
    known = ("apiVersion", "kind", "cluster", "plugins")
    for key, item in document.value.items():
        if key not in known:
            raise dataclasses.replace(item, path="").error(
                f'unknown key "{key}"{suggest(key, known)}', at_key=True
            )
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        found = document.value.get(key)
        if found is None:
            raise document.error(f"{key} is missing; write {key}: {wanted}")
        if found.value != wanted:
            raise found.error(f"expected {wanted}, got {found.kind}")
    cluster_section = document.value.get("cluster")
    cluster = ClusterSettings() if cluster_section is None else to_dataclass(ClusterSettings, cluster_section)
    if path is not None and cluster_section is not None and not cluster.data_dir.is_absolute():
        # A relative directory means the same wherever the command is run from.
        cluster = dataclasses.replace(cluster, data_dir=path.resolve().parent / cluster.data_dir)
    return Configuration(cluster, _plugins(document.value.get("plugins")), path)


def _plugins(section: Marked | None) -> Mapping[str, tuple[Choice, ...]]:
    chosen = dict(_default_plugins())
    if section is None or section.value is None:
        return chosen
    if not isinstance(section.value, dict):
        raise section.error(f"expected a mapping of roles, got {section.kind}")
    for role, item in section.value.items():
        if role not in DEFAULT_PLUGINS:
            raise item.error(f'unknown role "{role}"{suggest(role, DEFAULT_PLUGINS)}', at_key=True)
        chosen[role] = _driver(role, item) if role in DRIVER_ROLES else _several(role, item)
    return chosen


def _driver(role: str, item: Marked) -> tuple[Choice, ...]:
    if item.value is None:
        if role == "store":
            raise item.error("a cluster needs a store; name one, such as sqlite or memory")
        return ()
    choices = _one(item)
    if len(choices) != 1:
        raise item.error(f"the role {role} takes exactly one plugin: a name or {{name: settings}}")
    return tuple(choices)


def _several(role: str, item: Marked) -> tuple[Choice, ...]:
    if item.value is None:
        return ()
    # One name or one mapping of names is as clear as a list of them.
    elements = item.value if isinstance(item.value, list) else [item]
    chosen: dict[str, Choice] = {}
    without: dict[str, Marked] = {}
    star = False
    named: set[str] = set()
    for element in elements:
        if element.value == "*":
            star = True
            for choice in _default_choices(role):
                chosen.setdefault(choice.name, choice)
            continue
        if isinstance(element.value, str) and element.value.startswith("-"):
            without[element.value[1:]] = element
            continue
        for choice in _one(element):
            if choice.name in named:
                raise choice.section.error(f'the plugin "{choice.name}" is named twice', at_key=True)
            named.add(choice.name)
            chosen[choice.name] = choice
    for name, element in without.items():
        if not star:
            raise element.error(f'"-{name}" takes something out of "*"; there is no "*" in this list')
        if name not in DEFAULT_PLUGINS[role]:
            raise element.error(f'"{name}" is not among the defaults{suggest(name, DEFAULT_PLUGINS[role])}')
        if name in named:
            raise element.error(f'"{name}" is both named and taken out')
        del chosen[name]
    return tuple(chosen.values())


def _one(element: Marked) -> list[Choice]:
    """A name, or a mapping of names to their settings."""
    if isinstance(element.value, str) and element.value:
        section = dataclasses.replace(element, value={}, path=f"{element.path}.{element.value}")
        return [Choice(element.value, section)]
    if isinstance(element.value, dict):
        for name, section in element.value.items():
            if section.value is not None and not isinstance(section.value, dict):
                raise section.error(f'expected the settings of "{name}" as a mapping, got {section.kind}')
        return [Choice(name, section) for name, section in element.value.items()]
    raise element.error(f"expected a plugin's name or {{name: settings}}, got {element.kind}")
