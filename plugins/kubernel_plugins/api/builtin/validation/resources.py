"""Names and quantities of resources, and what containers and pods ask for.

Source: pkg/apis/core/helper/helpers.go, ValidateContainerResourceRequirements and its kin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from kubernel.objects import names, quantity
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.values import NEGATIVE, Found, Obj, named

__all__ = [
    "amount",
    "basic_quantity",
    "container_requirements",
    "container_resource_name",
    "is_extended",
    "is_huge_pages",
    "is_native",
    "is_node_allocatable",
    "overcommit_allowed",
    "pod_requirements",
    "positive_quantity",
    "quantity_value",
    "quota_resource_name",
    "resource_name",
]

_CONTAINER = frozenset(("cpu", "memory", "ephemeral-storage"))
_REQUESTED = frozenset(("cpu", "memory", "ephemeral-storage"))
_COUNTED = frozenset(
    (
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    )
)
_STANDARD = (
    _COUNTED
    | _CONTAINER
    | {f"requests.{name}" for name in _REQUESTED}
    | {f"limits.{name}" for name in _REQUESTED}
    | {"storage", "requests.storage"}
)
_QUOTA = _STANDARD - {"storage"}
_HUGE_PAGES = "hugepages-"
_REQUESTS = "requests."
_POD_LEVEL = ("cpu", "hugepages-", "memory")
_QOS = frozenset(("cpu", "memory"))

NameRule = Callable[[str, str, Found], None]


def amount(text: str | int | float) -> int | Decimal:
    """The value of a quantity; 0 for what the decoder let through (it never does for built-in types)."""
    try:
        return quantity.parse(text)
    except ValueError:
        return 0


def is_huge_pages(name: str) -> bool:
    return name.startswith(_HUGE_PAGES)


def is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    if is_native(name) or name.startswith(_REQUESTS):
        return False
    return not names.check_qualified_name(f"{_REQUESTS}{name}")


def overcommit_allowed(name: str) -> bool:
    return is_native(name) and not is_huge_pages(name)


def is_node_allocatable(name: str) -> bool:
    return name in _QOS or is_huge_pages(name)


def _is_quota_huge_pages(name: str) -> bool:
    return name.startswith((_HUGE_PAGES, f"{_REQUESTS}{_HUGE_PAGES}"))


def is_standard_quota(name: str) -> bool:
    return name in _QUOTA or _is_quota_huge_pages(name)


def resource_name(name: str, path: str, found: Found) -> None:
    before = len(found)
    named(name, path, names.check_qualified_name, found)
    if len(found) == before and "/" not in name and name not in _STANDARD and not _is_quota_huge_pages(name):
        found.append(causes.invalid(path, name, "must be a standard resource type or fully qualified"))


def container_resource_name(name: str, path: str, found: Found) -> None:
    resource_name(name, path, found)
    if "/" not in name:
        if name not in _CONTAINER and not is_huge_pages(name):
            found.append(causes.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        found.append(causes.invalid(path, name, "doesn't follow extended resource name standard"))


def quota_resource_name(name: str, path: str, found: Found) -> None:
    resource_name(name, path, found)
    if "/" not in name and not is_standard_quota(name):
        found.append(causes.invalid(path, name, "must be a standard resource for quota"))


def _pod_resource_name(name: str, path: str, found: Found) -> None:
    before = len(found)
    resource_name(name, path, found)
    if len(found) == before and name not in _QOS and not is_huge_pages(name):
        found.append(causes.not_supported(path, name, _POD_LEVEL))


def quantity_value(name: str, text: str, path: str, found: Found) -> None:
    """Not negative; whole for what is counted."""
    value = amount(text)
    if value < 0:
        found.append(causes.invalid(path, quantity.canonical(text), NEGATIVE))
    if (
        name not in _CONTAINER
        and (name in _COUNTED or is_extended(name))
        and quantity.to_int_milli(text) % 1000
    ):
        found.append(causes.invalid(path, quantity.canonical(text), "must be an integer"))


def positive_quantity(text: str, path: str, found: Found) -> None:
    if amount(text) <= 0:
        found.append(causes.invalid(path, quantity.canonical(text), "must be greater than zero"))


def basic_quantity(text: str, path: str, found: Found) -> None:
    value = quantity.to_int(text)
    if value < 0:
        found.append(causes.invalid(path, value, "must be a valid resource quantity"))


def container_requirements(resources: Obj, path: str, claims: Iterable[str], found: Found) -> None:
    """``resources`` of a container; ``claims`` are the names in the pod's ``spec.resourceClaims``."""
    _requirements(resources, path, container_resource_name, claims, found)


def pod_requirements(resources: Obj, path: str, claims: Iterable[str], found: Found) -> None:
    """``spec.resources`` of a pod."""
    _requirements(resources, path, _pod_resource_name, claims, found)


def _requirements(
    resources: Obj, path: str, name_rule: NameRule, claims: Iterable[str], found: Found
) -> None:
    limits: Mapping[str, str] = resources.get("limits") or {}
    requests: Mapping[str, str] = resources.get("requests") or {}
    for name, text in limits.items():
        _amount(name, text, f"{path}.limits", name_rule, found)
    for name, text in requests.items():
        _amount(name, text, f"{path}.requests", name_rule, found)
        limit = limits.get(name)
        if limit is not None:
            if limit != text:
                _against_limit(name, text, limit, f"{path}.requests", found)
        elif not overcommit_allowed(name):
            found.append(
                causes.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
            )
    if _HUGE_PAGES in "".join(limits) + "".join(requests):
        _huge_pages_company(limits, requests, path, found)
    if resources.get("claims"):
        _claim_names(resources["claims"], f"{path}.claims", claims, found)


def _amount(name: str, text: str, path: str, name_rule: NameRule, found: Found) -> None:
    if name in _QOS:
        if amount(text) < 0:
            found.append(causes.invalid(f"{path}[{name}]", quantity.canonical(text), NEGATIVE))
        return
    where = f"{path}[{name}]"
    name_rule(name, where, found)
    quantity_value(name, text, where, found)
    if is_huge_pages(name) and not _divisible(name, text):
        told = quantity.canonical(text)
        found.append(causes.invalid(where, told, f"{told} is not positive integer multiple of {name}"))


def _divisible(name: str, text: str) -> bool:
    try:
        page = quantity.parse(name.removeprefix(_HUGE_PAGES))
    except ValueError:
        return False
    return page > 0 and page == int(page) and quantity.to_int(text) % int(page) == 0


def _against_limit(name: str, request: str, limit: str, path: str, found: Found) -> None:
    asked, allowed = amount(request), amount(limit)
    if asked == allowed:
        return
    if not overcommit_allowed(name):
        told = f"must be equal to {name} limit of"
    elif asked > allowed:
        told = f"must be less than or equal to {name} limit of"
    else:
        return
    shown = quantity.canonical(request)
    found.append(causes.invalid(path, shown, f"{told} {quantity.canonical(limit)}"))


def _huge_pages_company(
    limits: Mapping[str, str], requests: Mapping[str, str], path: str, found: Found
) -> None:
    if (
        any(map(is_huge_pages, (*limits, *requests)))
        and _QOS.isdisjoint(limits)
        and _QOS.isdisjoint(requests)
    ):
        found.append(causes.forbidden(path, "HugePages require cpu or memory"))


def _claim_names(claims: Iterable[Obj], path: str, known: Iterable[str], found: Found) -> None:
    taken: set[str] = set()
    pod_claims = sorted(set(known))
    for index, claim in enumerate(claims):
        where, name, request = f"{path}[{index}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            found.append(causes.required(where))
            continue
        if name in taken:
            found.append(causes.duplicate(where, name))
        else:
            if request:
                named(request, f"{where}.request", names.check_dns1123_label, found)
            key = f"{name}/{request}" if request else name
            if key in taken:
                found.append(causes.duplicate(where, key))
            elif not request:
                found += (causes.duplicate(where, name) for one in taken if one.partition("/")[0] == name)
            taken.add(key)
        if name not in pod_claims:
            told = f": {', '.join(pod_claims)}" if pod_claims else " which is empty"
            found.append(
                causes.not_found(where, name, f"must be one of the names in pod.spec.resourceClaims{told}")
            )
