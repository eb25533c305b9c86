"""From the tables' rows to registered resource types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from kubernel.errors import MethodNotSupported
from kubernel.objects import names
from kubernel.registry.types import GroupVersionKind, ResourceType, Subresource
from kubernel_plugins.api.builtin.rows import LazyColumns, Row, field_reader
from kubernel_plugins.api.builtin.strategies import deferred
from kubernel_plugins.api.builtin.tables import EXTRA, REVIEWS, TABLES
from kubernel_plugins.api.builtin.tables.subresources import OWN_KIND_VERBS, SUBRESOURCES

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.registry.schema import Node
    from kubernel.registry.types import Strategy
    from kubernel.store.records import Obj
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["resource_types"]

_SCALE = GroupVersionKind("autoscaling", "v1", "Scale")

_PATH_NAMES = ("apiservice", "certificatesigningrequest", "role", "rolebinding")
_LABEL_NAMES = ("namespace", "service", "statefulset")
_EVENT_SOURCE = "source"


def resource_types(
    context: Context, node: Callable[[str, str, str], Node], extra: Iterable[tuple[str, str]] = ()
) -> Iterator[ResourceType]:
    """Every type of the tables, and of ``extra`` groups and versions. ``node(group, version, kind)`` gives a
    kind's schema."""
    strategies: dict[str, Strategy] = {}
    for (group, version), rows in {**TABLES, **{each: EXTRA[each] for each in extra}}.items():
        for row in rows:
            strategy = strategies.get(row.strategy)
            if strategy is None:
                strategy = strategies[row.strategy] = deferred(row.strategy, context)
            yield _type(group, version, row, strategy, node)
    for (group, version), rows in REVIEWS.items():
        for row in rows:
            type = _type(group, version, row, deferred(row.strategy, context), node)
            type.create = _unanswered
            yield type


def _unanswered(request: Request) -> Obj:
    """Stands in until an auth plugin answers the review."""
    raise MethodNotSupported.for_verb(request.type.plural, request.type.group, "create")


def _type(
    group: str, version: str, row: Row, strategy: Strategy, node: Callable[[str, str, str], Node]
) -> ResourceType:
    type = ResourceType(
        group,
        version,
        row.kind,
        row.plural,
        cache(partial(node, group, version, row.kind)),
        singular=row.singular,
        namespaced=row.namespaced,
        short_names=row.short,
        categories=row.categories,
        verbs=row.verbs,
        columns=LazyColumns(row.columns),
        strategy=strategy,
        field_selectors={path: _reader(row, path, absent) for path, absent in row.fields.items()},
        indexed_field=row.indexed_field,
        check_name=_name_check(row),
        deprecation=row.deprecation,
        hashed_version=row.hashed,
    )
    type.subresources = {name: _subresource(type, name, strategy, node) for name in row.subresources}
    if row.create:
        type.create = _handler(strategy, row.create)
    if row.kind == "ComponentStatus":
        type.source = cast("Any", _late("cluster:component_statuses"))
    _shared_storage(type)
    return type


_NEVER_EQUAL = ("status.podIPs",)
"""Known as a field to select by, and of no object upstream."""


def _reader(row: Row, path: str, absent: str) -> Callable[[Obj], str]:
    if row.kind == "Event":
        return _event_reader(path, absent)
    if path in _NEVER_EQUAL:
        return lambda _: ""
    if path == "status.successful":
        return field_reader("status.succeeded", absent)
    return field_reader(path, absent)


def _event_reader(path: str, absent: str) -> Callable[[Obj], str]:
    """Events are selected as they are stored, so the fields of events.k8s.io have two names."""
    stored = path.replace("regarding.", "involvedObject.").replace(
        "reportingController", "reportingComponent"
    )
    if path == _EVENT_SOURCE:
        component, reporter = field_reader("source.component", ""), field_reader("reportingComponent", absent)
        return lambda obj: component(obj) or reporter(obj)
    first, second = field_reader(stored, ""), field_reader(path, absent)
    return lambda obj: first(obj) or second(obj)


def _name_check(row: Row) -> Callable[[str], list[str]]:
    if row.strategy in _PATH_NAMES:
        return names.check_path_segment
    if row.strategy in _LABEL_NAMES:
        return names.check_dns1123_label
    if row.kind == "IPAddress":
        return _check_address
    return _any_name if row.kind == "ClusterTrustBundle" else names.check_dns1123_subdomain


def _check_address(name: str) -> list[str]:
    """An address is its own name, in its one spelling."""
    from kubernel_plugins.api.builtin.validation.addresses import strict_ip_problems

    return strict_ip_problems(name)


def _any_name(_: str) -> list[str]:
    """What a bundle may be called depends on its signer: its strategy says it."""
    return []


def _subresource(
    type: ResourceType, name: str, strategy: Strategy, node: Callable[[str, str, str], Node]
) -> Subresource:
    if name == "scale":
        from kubernel_plugins.api.builtin.strategies.scale import read_scale, write_scale

        return Subresource(
            name,
            _SCALE,
            schema=partial(node, _SCALE.group, _SCALE.version, _SCALE.kind),
            read=read_scale,
            write=write_scale,
            field=("spec.replicas", "spec.replicas"),
            columns=LazyColumns("workloads:SCALE"),
        )
    row = SUBRESOURCES.get(f"{type.plural}/{name}")
    if row is None:
        return Subresource(name, type.gvk, OWN_KIND_VERBS.get(name, ("get", "patch", "update")))
    gvk = row.gvk
    return Subresource(
        name,
        gvk,
        row.verbs,
        handler=_handler(strategy, row.handler) if row.handler else None,
        check=_handler(strategy, row.check) if row.check else None,
        schema=None if row.connect else partial(node, gvk.group, gvk.version, gvk.kind),
        connect=row.connect,
        options=partial(_options, row.options or gvk.kind) if row.connect else None,
    )


def _options(kind: str) -> Mapping[str, tuple[str, str]]:
    from kubernel_plugins.api.builtin.published import options_of

    return options_of(kind)


def _handler(strategy: Strategy, method: str) -> Callable[[Request], Any]:
    """The strategy's answer to POST, looked up when it is first needed."""

    def answer(request: Request) -> Any:
        return getattr(strategy, method)(request)

    return answer


def _late(where: str) -> Callable[..., Obj]:
    """``module:function`` of ``strategies/``, imported when first called."""
    module, _, function = where.partition(":")

    def call(*args: Obj) -> Obj:
        loaded = import_module(f"kubernel_plugins.api.builtin.strategies.{module}")
        result: Obj = getattr(loaded, function)(*args)
        return result

    return call


def _shared_storage(type: ResourceType) -> None:
    """Types whose objects another type keeps."""
    match (type.group, type.version, type.kind):
        case ("events.k8s.io", _, "Event"):
            type.storage_group = ""
            type.to_storage, type.from_storage = _late("events:to_core"), _late("events:from_core")
        case ("autoscaling", "v1", "HorizontalPodAutoscaler"):
            type.storage_version = "v2"
            type.to_storage, type.from_storage = _late("autoscaling:to_v2"), _late("autoscaling:from_v2")
        case ("autoscaling", "v2", "HorizontalPodAutoscaler"):
            type.storage_version = "v2"
