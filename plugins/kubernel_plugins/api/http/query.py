"""Query parameters to checked options, refused in upstream's words."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import parse_qs

from kubernel.errors import BadRequest, Cause, Invalid, UnnamedError
from kubernel.objects.go_json import kind_of, kind_problem
from kubernel.registry.causes import show
from kubernel.registry.metadata import MANAGER_LENGTH, SCHEME, check_manager
from kubernel.registry.reading import version_problem
from kubernel.registry.registry import ListOptions, WatchOptions
from kubernel.registry.request import DeleteOptions, WriteOptions

__all__ = [
    "Query",
    "delete_options",
    "flag",
    "get_version",
    "integer",
    "list_options",
    "parse",
    "watch_options",
    "write_options",
]

Query = dict[str, list[str]]
_META = "meta.k8s.io"
_MATCHES = ("Exact", "NotOlderThan")
_MATCH_ALONE = "resourceVersionMatch is forbidden unless resourceVersion is provided"
_MATCH_AND_CONTINUE = "resourceVersionMatch is forbidden when continue is provided"
_EXACT_ZERO = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
_POLICIES = ("Background", "Foreground", "Orphan")


def parse(text: str) -> Query:
    return parse_qs(text, keep_blank_values=True) if text else {}


def one(query: Query, name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""


def flag(query: Query, name: str) -> bool:
    """A bool parameter: anything but ``false`` and ``0`` is true, also an empty value (``?watch``)."""
    values = query.get(name)
    return bool(values) and values[0].lower() not in ("false", "0")  # type: ignore[index]


def integer(query: Query, name: str) -> int | None:
    if name not in query:
        return None
    text = one(query, name)
    digits = text[1:] if text.startswith(("+", "-")) else text
    if not (digits.isascii() and digits.isdigit()):
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def _unsupported(field: str, value: Any, supported: tuple[str, ...]) -> Cause:
    listed = ", ".join(f'"{name}"' for name in supported)
    return Cause(
        "FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {listed}", field
    )


def _forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _refuse(kind: str, causes: list[Cause]) -> None:
    if causes:
        raise Invalid.for_object(kind, _META, "", causes)


def resource_version(query: Query) -> str:
    """UnnamedError for a wrong one: upstream's store fails, where lists say what is wrong."""
    version = one(query, "resourceVersion")
    if version:
        problem = version_problem(version)
        if problem:
            raise UnnamedError(problem)
    return version


def get_version(query: Query) -> tuple[str, bool]:
    """The resourceVersion that a GET wants, and whether it wants exactly that one. The second is an extension:
    upstream's GET knows no resourceVersionMatch and takes any version that is not older."""
    version = resource_version(query)
    return version, version not in ("", "0") and one(query, "resourceVersionMatch") == "Exact"


def list_options(query: Query) -> ListOptions:
    version, match, token = (
        one(query, "resourceVersion"),
        one(query, "resourceVersionMatch"),
        one(query, "continue"),
    )
    causes: list[Cause] = []
    if match:
        if not version:
            causes.append(_forbidden("resourceVersionMatch", _MATCH_ALONE))
        if token:
            causes.append(_forbidden("resourceVersionMatch", _MATCH_AND_CONTINUE))
        if match not in _MATCHES:
            causes.append(_unsupported("resourceVersionMatch", match, (*_MATCHES, "")))
        if match == "Exact" and version == "0":
            causes.append(_forbidden("resourceVersionMatch", _EXACT_ZERO))
    if "sendInitialEvents" in query:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    _refuse("ListOptions", causes)
    limit = integer(query, "limit") or 0
    integer(query, "timeoutSeconds")
    return ListOptions(
        labels=one(query, "labelSelector"),
        fields=one(query, "fieldSelector"),
        limit=max(limit, 0),
        continue_token=token,
        resource_version=version,
        match=match,
    )


def watch_options(query: Query) -> WatchOptions:
    match = one(query, "resourceVersionMatch")
    causes: list[Cause] = []
    initial = "sendInitialEvents" in query
    if initial and match != "NotOlderThan":
        causes.append(
            _forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )
        )
    if match:
        if not initial:
            causes.append(
                _forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                )
            )
        if match != "NotOlderThan":
            causes.append(_unsupported("resourceVersionMatch", match, ("NotOlderThan",)))
    if one(query, "continue"):
        causes.append(_forbidden("resourceVersionMatch", _MATCH_AND_CONTINUE))
    _refuse("ListOptions", causes)
    return WatchOptions(
        labels=one(query, "labelSelector"),
        fields=one(query, "fieldSelector"),
        resource_version=resource_version(query),
        match=match,
        bookmarks=flag(query, "allowWatchBookmarks"),
        initial_events=flag(query, "sendInitialEvents") if initial else None,
    )


def _dry_run(values: list[str], causes: list[Cause]) -> bool:
    if any(value != "All" for value in values):
        causes.append(_unsupported("dryRun", values, ("All",)))
    return bool(values)


def write_options(query: Query, kind: str, user_agent: str, *, patch: str = "") -> WriteOptions:
    """``kind`` is CreateOptions, UpdateOptions or PatchOptions; ``patch`` the type of a patch."""
    if not query and patch != "apply":
        return WriteOptions(field_manager=_default_manager(user_agent))
    causes: list[Cause] = []
    manager = one(query, "fieldManager")
    if patch and patch != "apply" and "force" in query:
        causes.append(_forbidden("force", "may not be specified for non-apply patch"))
    if patch == "apply" and not manager:
        causes.append(
            Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
        )
    causes += check_manager("fieldManager", manager)
    dry_run = _dry_run(query.get("dryRun", []), causes)
    validation = one(query, "fieldValidation")
    if validation not in ("", "Ignore", "Strict", "Warn"):
        causes.append(_unsupported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    _refuse(kind, causes)
    return WriteOptions(
        dry_run=dry_run,
        field_manager=manager or _default_manager(user_agent),
        field_validation=cast("Any", validation or "Warn"),
        said=tuple(pair for pair in (("fieldManager", manager), ("fieldValidation", validation)) if pair[1]),
        force=flag(query, "force"),
    )


def _default_manager(user_agent: str) -> str:
    first = user_agent.partition("/")[0][:MANAGER_LENGTH]
    return first if first and first.isprintable() else "unknown"


def delete_options(query: Query, body: Any) -> DeleteOptions:
    """From the body when there is one, else from the query, as upstream has it."""
    causes: list[Cause] = []
    if body is not None:
        if not isinstance(body, dict):
            raise BadRequest(f"couldn't get version/kind; {kind_problem(body)}")
        grace, policy = body.get("gracePeriodSeconds"), body.get("propagationPolicy")
        orphan, dry_run = body.get("orphanDependents"), body.get("dryRun") or []
        preconditions = body.get("preconditions") or {}
        if body.get("kind", "DeleteOptions") != "DeleteOptions":
            version = body.get("apiVersion") or "meta.k8s.io/v1"
            told = f'no kind "{body["kind"]}" is registered for version "{version}" in scheme "{SCHEME}"'
            raise BadRequest(told)
        if not isinstance(preconditions, dict) or not isinstance(dry_run, list):
            raise BadRequest("DeleteOptions: preconditions must be an object and dryRun a list")
        if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
            raise BadRequest(
                f"json: cannot unmarshal {kind_of(grace)} into Go struct field DeleteOptions.gracePeriodSeconds "
                "of type int64"
            )
        uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
        for value, name in ((uid, "uid"), (version, "resourceVersion")):
            if value is not None and not isinstance(value, str):
                raise BadRequest(f"DeleteOptions: preconditions.{name} must be a string")
    else:
        grace = integer(query, "gracePeriodSeconds")
        policy = one(query, "propagationPolicy") or None
        orphan = flag(query, "orphanDependents") if "orphanDependents" in query else None
        dry_run = query.get("dryRun", [])
        uid = version = None
    if policy is not None and orphan is not None:
        causes.append(
            Cause(
                "FieldValueInvalid",
                f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set',
                "propagationPolicy",
            )
        )
    if policy is not None and policy not in _POLICIES:
        causes.append(
            _unsupported("propagationPolicy", str(policy), ("Foreground", "Background", "Orphan", "nil"))
        )
    if grace is not None and grace < 0:
        grace = 1
    dry = _dry_run([str(value) for value in dry_run], causes)
    _refuse("DeleteOptions", causes)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    return DeleteOptions(
        grace_period=grace,
        propagation=policy,
        uid=uid,
        resource_version=version,
        dry_run=dry,
    )
