"""KubeSchedulerConfiguration: which policies each profile has, with which weights and arguments.

Source: k8s.io/kube-scheduler/config/v1 and k8s.io/kubernetes/pkg/scheduler/apis/config/validation (v1.37). What
concerns only the upstream process (client connection, profiling, parallelism) is checked and has no effect, and so is
``percentageOfNodesToScore``: all nodes are always evaluated. Whether there is an election is the cluster's setting
``leaderElection``; its lease and times are those of the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kubernel.config.convert import suggest
from kubernel.objects import times
from kubernel_plugins.scheduler.default.extenders import ExtenderSettings, parse_extenders

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PolicyFactory

__all__ = ["POINTS", "Chosen", "Election", "ProfileSettings", "SchedulerSettings", "parse"]

_JITTER = 1.2
_GROUP = "kubescheduler.config.k8s.io"
_KNOWN = {
    "apiVersion",
    "clientConnection",
    "delayCacheUntilActive",
    "enableContentionProfiling",
    "enableProfiling",
    "extenders",
    "kind",
    "leaderElection",
    "parallelism",
    "percentageOfNodesToScore",
    "podInitialBackoffSeconds",
    "podMaxBackoffSeconds",
    "profiles",
}
_CONNECTION = {"acceptContentTypes", "burst", "contentType", "kubeconfig", "qps"}
_ELECTION = {
    "leaderElect",
    "leaseDuration",
    "renewDeadline",
    "resourceLock",
    "resourceName",
    "resourceNamespace",
    "retryPeriod",
}
_REMOVED = frozenset(("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"))
_OF_GROUPS = ("placementGenerate", "placementScore", "podGroupPostFilter")
"""Extension points of groups of pods: accepted, without effect."""
POINTS: Mapping[str, str] = {
    "preEnqueue": "pre_enqueue",
    "queueSort": "sort_key",
    "preFilter": "pre_filter",
    "filter": "filter",
    "postFilter": "post_filter",
    "preScore": "pre_score",
    "score": "score",
    "reserve": "reserve",
    "permit": "permit",
    "preBind": "pre_bind",
    "bind": "bind",
    "postBind": "post_bind",
}
"""Extension points, and the methods of ``Policy`` that take part in them."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy at one extension point."""

    name: str
    weight: int


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """``points``: which policies each extension point (``filter``, …) has, in order. ``arguments`` by policy, ``paths``
    where they stand."""

    scheduler_name: str
    points: Mapping[str, Sequence[Chosen]]
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Election:
    """The lease that schedulers compete for; times in seconds."""

    name: str = "kube-scheduler"
    namespace: str = "kube-system"
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    profiles: Sequence[ProfileSettings]
    first_backoff: float = 1.0
    last_backoff: float = 10.0
    election: Election = Election()
    extenders: Sequence[ExtenderSettings] = ()


def parse(
    given: Mapping[str, Any],
    scheduler_name: str,
    factories: Sequence[PolicyFactory],
    takes_part: Callable[[str, str], bool],
) -> SchedulerSettings:
    """Check a KubeSchedulerConfiguration, which may be empty; ValueError names the field that is wrong.

    ``scheduler_name`` is the profile's when there is just one that names none; ``takes_part(policy, method)``
    tells whether a policy has an extension point.
    """
    _check_keys("", given, _KNOWN)
    version, kind = given.get("apiVersion", f"{_GROUP}/v1"), given.get("kind", "KubeSchedulerConfiguration")
    if (version, kind) != (f"{_GROUP}/v1", "KubeSchedulerConfiguration"):
        raise ValueError(f"{version} {kind} is not {_GROUP}/v1 KubeSchedulerConfiguration")
    extenders = parse_extenders(given.get("extenders") or ())
    _check_range("percentageOfNodesToScore", given)
    parallelism = given.get("parallelism", 16)
    if parallelism <= 0:
        raise ValueError(
            f"parallelism: Invalid value: {parallelism}: should be an integer value greater than zero"
        )
    connection = given.get("clientConnection") or {}
    _check_keys("clientConnection", connection, _CONNECTION)
    if connection.get("burst", 0) < 0:
        raise ValueError(
            f"clientConnection.burst: Invalid value: {connection['burst']}: must be non-negative"
        )
    first = given.get("podInitialBackoffSeconds", 1)
    last = given.get("podMaxBackoffSeconds", 10)
    if first <= 0:
        raise ValueError(f"podInitialBackoffSeconds: Invalid value: {first}: must be greater than 0")
    if last < first:
        raise ValueError(
            f"podMaxBackoffSeconds: Invalid value: {last}: must be greater than or equal to PodInitialBackoffSeconds"
        )
    profiles = [
        _profile(f"profiles[{position}]", each, scheduler_name, factories, takes_part)
        for position, each in enumerate(given.get("profiles") or [{}])
    ]
    if len(profiles) > 1:
        for position, each in enumerate(given["profiles"]):
            if not each.get("schedulerName"):
                raise ValueError(f"profiles[{position}].schedulerName: Required value")
            if profiles[position].points["sort_key"] != profiles[0].points["sort_key"]:
                raise ValueError(
                    f"profiles[{position}].plugins.queueSort: Invalid value: must be the same for all profiles"
                )
    names = [profile.scheduler_name for profile in profiles]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'profiles: Duplicate value: "{name}"')
    election = _election(given.get("leaderElection") or {})
    unchecked = sorted(name for each in extenders for name in each.unchecked)
    if unchecked:
        profiles = [_ignoring(each, unchecked) for each in profiles]
    return SchedulerSettings(profiles, float(first), float(last), election, extenders)


def _ignoring(profile: ProfileSettings, resources: Sequence[str]) -> ProfileSettings:
    """The profile, whose NodeResourcesFit leaves these resources to an extender."""
    fit = profile.arguments.get("NodeResourcesFit", {})
    fit = {**fit, "ignoredResources": [*(fit.get("ignoredResources") or ()), *resources]}
    return replace(profile, arguments={**profile.arguments, "NodeResourcesFit": fit})


def _check_range(path: str, given: Mapping[str, Any]) -> None:
    percentage = given.get(path.rpartition(".")[2])
    if percentage is not None and not 0 <= percentage <= 100:
        raise ValueError(f"{path}: Invalid value: {percentage}: not in valid range [0-100]")


def _election(given: Mapping[str, Any]) -> Election:
    _check_keys("leaderElection", given, _ELECTION)
    lock = given.get("resourceLock") or "leases"
    if lock != "leases":
        raise ValueError(
            f'leaderElection.resourceLock: Invalid value: "{lock}": resourceLock value must be "leases"'
        )
    default = Election()
    seconds = {}
    for key, fallback in (
        ("leaseDuration", default.lease_duration),
        ("renewDeadline", default.renew_deadline),
        ("retryPeriod", default.retry_period),
    ):
        try:
            seconds[key] = times.duration(given[key]) if given.get(key) else fallback
        except ValueError:
            raise ValueError(f'leaderElection.{key}: Invalid value: "{given[key]}": no duration') from None
        if seconds[key] <= 0:
            raise ValueError(f"leaderElection.{key}: Invalid value: {given[key]}: must be greater than zero")
    if seconds["leaseDuration"] <= seconds["renewDeadline"]:
        raise ValueError(
            "leaderElection.leaseDuration: Invalid value: LeaseDuration must be greater than RenewDeadline"
        )
    if seconds["renewDeadline"] <= seconds["retryPeriod"] * _JITTER:
        raise ValueError(
            "leaderElection.renewDeadline: Invalid value: RenewDeadline must be greater than RetryPeriod*JitterFactor"
        )
    return Election(
        given.get("resourceName") or default.name,
        given.get("resourceNamespace") or default.namespace,
        seconds["leaseDuration"],
        seconds["renewDeadline"],
        seconds["retryPeriod"],
    )


def _check_keys(path: str, given: Mapping[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{path}{'.' if path else ''}{key}: unknown field{suggest(key, known)}")


def _profile(
    path: str,
    given: Mapping[str, Any],
    scheduler_name: str,
    factories: Sequence[PolicyFactory],
    takes_part: Callable[[str, str], bool],
) -> ProfileSettings:
    _check_keys(path, given, {"schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"})
    _check_range(f"{path}.percentageOfNodesToScore", given)
    known = {factory.name: factory for factory in factories}
    plugins = given.get("plugins") or {}
    name = given.get("schedulerName") or scheduler_name
    making = f"initializing profiles: creating profile for scheduler name {name}: "
    _check_keys(f"{path}.plugins", plugins, {"multiPoint", *POINTS, *_OF_GROUPS})
    for point, sets in plugins.items():
        if point in _OF_GROUPS:
            continue
        _check_sets(f"{path}.plugins.{point}", sets or {})
        # The first point that all are tried at.
        kind = _kind("preFilter" if point == "multiPoint" else point)
        for entry in (sets or {}).get("enabled") or ():
            if entry.get("name", "") not in known:
                raise ValueError(f'{making}{kind} "{entry.get("name", "")}" does not exist')
    everywhere = _everywhere(plugins.get("multiPoint") or {}, factories)
    points = {}
    for point, method in POINTS.items():
        there = [each for each in everywhere if takes_part(each.name, method)]
        its = points[method] = _at_point(plugins.get(point) or {}, there, known)
        for position, each in enumerate(its):
            if not takes_part(each.name, method):
                raise ValueError(f'{making}plugin "{each.name}" does not extend {_kind(point)} plugin')
            if any(other.name == each.name for other in its[:position]):
                raise ValueError(f'{making}plugin "{each.name}" already registered as "{_kind(point)}"')
    if len(points["sort_key"]) != 1:
        raise ValueError(
            f'{making}only one queue sort plugin required for profile with scheduler name "{name}", '
            f"but got {len(points['sort_key'])}"
        )
    if not points["bind"]:
        raise ValueError(
            f'{making}at least one bind plugin is needed for profile with scheduler name "{name}"'
        )
    arguments: dict[str, Mapping[str, Any]] = {}
    paths: dict[str, str] = {}
    for position, entry in enumerate(given.get("pluginConfig") or ()):
        where = f"{path}.pluginConfig[{position}]"
        _check_keys(where, entry, {"name", "args"})
        policy = entry.get("name", "")
        if policy in arguments:
            raise ValueError(f'{path}.pluginConfig: Duplicate value: "{policy}"')
        paths[policy] = where
        ignored = ("apiVersion", "kind")
        # Of a policy that is not there they are not looked at, as upstream does not.
        arguments[policy] = {k: v for k, v in (entry.get("args") or {}).items() if k not in ignored}
    return ProfileSettings(name, points, arguments, paths)


def _kind(point: str) -> str:
    """As upstream calls the plugins of an extension point: ``PreFilterPlugin``."""
    return f"{point[0].upper()}{point[1:]}Plugin"


def _check_sets(path: str, sets: Mapping[str, Any]) -> None:
    _check_keys(path, sets, {"enabled", "disabled"})
    for part in ("enabled", "disabled"):
        for position, entry in enumerate(sets.get(part) or ()):
            where = f"{path}.{part}[{position}]"
            _check_keys(where, entry, {"name", "weight"})
            name = entry.get("name", "")
            if name in _REMOVED and part == "enabled":
                raise ValueError(
                    f'{where}: Invalid value: "{name}": was invalid in version "{_GROUP}/v1" '
                    f'(KubeSchedulerConfiguration is version "{_GROUP}/v1")'
                )


def _everywhere(sets: Mapping[str, Any], factories: Sequence[PolicyFactory]) -> list[Chosen]:
    """What takes part at every point it has: the defaults less the disabled, then the enabled."""
    disabled = {entry["name"] for entry in sets.get("disabled") or ()}
    enabled = {entry["name"]: entry.get("weight") for entry in sets.get("enabled") or ()}
    weights = {factory.name: factory.weight for factory in factories}
    kept = [
        factory.name
        for factory in factories
        if factory.default and "*" not in disabled and factory.name not in disabled
    ]
    names = kept + [name for name in enabled if name not in kept]
    return [Chosen(name, enabled.get(name) or weights[name]) for name in names]


def _at_point(
    sets: Mapping[str, Any], there: Sequence[Chosen], known: Mapping[str, PolicyFactory]
) -> list[Chosen]:
    """What is enabled at the point itself comes first and has its own weight."""
    disabled = {entry["name"] for entry in sets.get("disabled") or ()}
    first = [
        Chosen(entry["name"], entry.get("weight") or known[entry["name"]].weight)
        for entry in sets.get("enabled") or ()
    ]
    named = {each.name for each in first}
    rest = [
        each for each in there if "*" not in disabled and each.name not in disabled and each.name not in named
    ]
    return first + rest
