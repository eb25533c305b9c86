"""Flow schemas and priority levels.

Source: pkg/apis/flowcontrol/validation (v1.37). The objects that upstream fixes (``exempt``, ``catch-all``) are
made by the server here, and are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.values import Found, Obj, named

__all__ = ["conditions", "flow_schema", "priority_level"]

_EXEMPT = "exempt"
_MOST_PRECEDENCE = 10_000
_MOST_QUEUES = 10_000_000
_MOST_BITS = 60
_DISTINGUISHERS = ("ByNamespace", "ByUser")
_SUBJECTS = ("Group", "ServiceAccount", "User")
_SUBJECT_FIELDS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
_VERBS = (
    "connect",
    "create",
    "delete",
    "deletecollection",
    "get",
    "head",
    "list",
    "options",
    "patch",
    "post",
    "proxy",
    "put",
    "trace",
    "update",
    "watch",
)
_NAMESPACE = "each member of this list must be '*' or a DNS-1123 label; "


def conditions(obj: Obj) -> Found:
    found: Found = []
    seen: set[str] = set()
    for index, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        path, type = f"status.conditions[{index}].type", condition.get("type") or ""
        if type in seen:
            found.append(causes.duplicate(path, type))
        seen.add(type)
        if not type:
            found.append(causes.required(path))
    return found


def flow_schema(obj: Obj) -> Found:
    found: Found = []
    spec, path = obj.get("spec") or {}, "spec.matchingPrecedence"
    precedence = spec.get("matchingPrecedence") or 0
    if precedence <= 0:
        found.append(causes.invalid(path, precedence, "must be a positive value"))
    if precedence > _MOST_PRECEDENCE:
        found.append(causes.invalid(path, precedence, f"must not be greater than {_MOST_PRECEDENCE}"))
    if precedence == 1 and obj["metadata"].get("name") != _EXEMPT:
        told = "only the schema named 'exempt' may have matchingPrecedence 1"
        found.append(causes.invalid(path, precedence, told))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _DISTINGUISHERS:
        shown = go_value("flowcontrol.FlowDistinguisherMethod", method)
        found.append(causes.not_supported("spec.distinguisherMethod.type", shown, _DISTINGUISHERS))
    level, path = (
        (spec.get("priorityLevelConfiguration") or {}).get("name"),
        "spec.priorityLevelConfiguration.name",
    )
    if level:
        named(level, path, names.check_dns1123_subdomain, found)
    else:
        found.append(causes.required(path, "must reference a priority level"))
    for index, rule in enumerate(spec.get("rules") or ()):
        _rule(rule, f"spec.rules[{index}]", found)
    return found


def _rule(rule: Obj, path: str, found: Found) -> None:
    subjects = rule.get("subjects") or ()
    if not subjects:
        found.append(causes.required(f"{path}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(subjects):
        _subject(subject, f"{path}.subjects[{index}]", found)
    resource_rules, url_rules = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
    if not resource_rules and not url_rules:
        told = "at least one of resourceRules and nonResourceRules has to be non-empty"
        found.append(causes.required(path, told))
    for index, one in enumerate(resource_rules):
        _resource_rule(one, f"{path}.resourceRules[{index}]", found)
    for index, one in enumerate(url_rules):
        _url_rule(one, f"{path}.nonResourceRules[{index}]", found)


def _subject(subject: Obj, path: str, found: Found) -> None:
    kind = subject.get("kind") or ""
    if kind not in _SUBJECTS:
        found.append(causes.not_supported(f"{path}.kind", kind, _SUBJECTS))
        return
    key = _SUBJECT_FIELDS[kind]
    who, where = subject.get(key), f"{path}.{key}"
    if who is None:
        found.append(causes.required(where, f"{key} is required when subject kind is '{kind}'"))
    else:
        if not who.get("name"):
            found.append(causes.required(f"{where}.name"))
        elif kind == "ServiceAccount" and who["name"] != "*":
            named(who["name"], f"{where}.name", names.check_dns1123_subdomain, found)
        if kind == "ServiceAccount" and who.get("namespace"):
            named(who["namespace"], f"{where}.namespace", names.check_dns1123_label, found)
        elif kind == "ServiceAccount":
            told = "must specify namespace for service account"
            found.append(causes.required(f"{where}.namespace", told))
    for other, field in _SUBJECT_FIELDS.items():
        if other != kind and subject.get(field) is not None:
            told = f"{field} is forbidden when subject kind is not '{other}'"
            found.append(causes.forbidden(f"{path}.{field}", told))


def _alone(values: Sequence[str], path: str, what: str, found: Found) -> bool:
    """Whether ``*`` is among them; it must be alone then."""
    if "*" in values and len(values) > 1:
        told = f"if '*' is present, must not specify other {what}"
        found.append(causes.invalid(path, list(values), told))
    return "*" in values


def _verbs(rule: Obj, path: str, found: Found) -> None:
    verbs = rule.get("verbs") or []
    if not verbs:
        found.append(causes.required(f"{path}.verbs", "verbs must contain at least one value"))
    elif not _alone(verbs, f"{path}.verbs", "verbs", found) and not set(verbs) <= set(_VERBS):
        found.append(causes.not_supported(f"{path}.verbs", verbs, _VERBS))


def _resource_rule(rule: Obj, path: str, found: Found) -> None:
    _verbs(rule, path, found)
    for key, one, many in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        values = rule.get(key) or []
        if not values:
            found.append(causes.required(f"{path}.{key}", f"resource rules must supply at least one {one}"))
        else:
            _alone(values, f"{path}.{key}", many, found)
    namespaces, where = rule.get("namespaces") or [], f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        told = "resource rules that are not cluster scoped must supply at least one namespace"
        found.append(causes.required(where, told))
    elif not _alone(namespaces, where, "namespaces", found):
        for index, name in enumerate(namespaces):
            wrong = [_NAMESPACE + text for text in names.check_dns1123_label(name)]
            found += causes.invalid_each(f"{where}[{index}]", name, wrong)


def _url_rule(rule: Obj, path: str, found: Found) -> None:
    _verbs(rule, path, found)
    urls, where = rule.get("nonResourceURLs") or [], f"{path}.nonResourceURLs"
    if not urls:
        found.append(causes.required(where, "nonResourceURLs must contain at least one value"))
    elif not _alone(urls, where, "non-resource URLs", found):
        for index, url in enumerate(urls):
            wrong = _url_problem(url)
            if wrong:
                found.append(causes.invalid(f"{where}[{index}]", url, wrong))


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    stars = url.count("*")
    checks = (
        (not url.startswith("/"), "must start with slash"),
        (" " in url, "must not contain white-space"),
        ("//" in url, "must not contain double slash"),
        (stars > 1 or (stars == 1 and not url.endswith("/*")), "wildcard can only do suffix matching"),
    )
    return next((told for wrong, told in checks if wrong), "")


def priority_level(obj: Obj) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    type, exempt, limited = spec.get("type") or "", spec.get("exempt"), spec.get("limited")
    if (obj["metadata"].get("name") == _EXEMPT) != (type == "Exempt"):
        told = "must be 'Exempt' if and only if `name` is 'exempt'"
        found.append(causes.invalid("spec.type", type, told))
    if type == "Exempt":
        if limited is not None:
            found.append(causes.forbidden("spec.limited", ""))
        if exempt is not None:
            _shares(exempt, "spec.exempt", found)
            _lendable(exempt, "spec.exempt", found)
    elif type == "Limited":
        if exempt is not None:
            found.append(causes.forbidden("spec.exempt", ""))
        if limited is None:
            found.append(causes.required("spec.limited"))
        else:
            _limited(limited, "spec.limited", found)
    elif type:
        found.append(causes.not_supported("spec.type", type, ("Exempt", "Limited")))
    else:
        found.append(causes.required("spec.type"))
    return found + conditions(obj)


def _shares(level: Obj, path: str, found: Found) -> None:
    shares = level.get("nominalConcurrencyShares")
    if shares is not None and shares < 0:
        told = "must be a non-negative integer"
        found.append(causes.invalid(f"{path}.nominalConcurrencyShares", shares, told))


def _lendable(level: Obj, path: str, found: Found) -> None:
    percent = level.get("lendablePercent")
    if percent is not None and not 0 <= percent <= 100:
        told = "must be between 0 and 100, inclusive"
        found.append(causes.invalid(f"{path}.lendablePercent", percent, told))


def _limited(level: Obj, path: str, found: Found) -> None:
    _shares(level, path, found)
    _response(level.get("limitResponse") or {}, f"{path}.limitResponse", found)
    _lendable(level, path, found)
    borrowing = level.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        told = "if specified, must be a non-negative integer"
        found.append(causes.invalid(f"{path}.borrowingLimitPercent", borrowing, told))


def _response(response: Obj, path: str, found: Found) -> None:
    type, queuing = response.get("type") or "", response.get("queuing")
    if type == "Reject":
        if queuing is not None:
            found.append(causes.forbidden(f"{path}.queuing", ""))
    elif type == "Queue":
        if queuing is None:
            found.append(causes.required(f"{path}.queuing"))
        else:
            _queuing(queuing, f"{path}.queuing", found)
    elif type:
        found.append(causes.not_supported(f"{path}.type", type, ("Queue", "Reject")))
    else:
        found.append(causes.required(f"{path}.type"))


def _queuing(queuing: Obj, path: str, found: Found) -> None:
    length, queues, hand = (queuing.get(key) or 0 for key in ("queueLengthLimit", "queues", "handSize"))
    if length <= 0:
        found.append(causes.invalid(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        found.append(causes.invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > _MOST_QUEUES:
        found.append(causes.invalid(f"{path}.queues", queues, f"must not be greater than {_MOST_QUEUES}"))
    if hand <= 0:
        found.append(causes.invalid(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        told = f"should not be greater than queues ({queues})"
        found.append(causes.invalid(f"{path}.handSize", hand, told))
    elif _entropy(queues, hand) > _MOST_BITS:
        needed = f"required entropy bits of deckSize {queues} and handSize {hand}"
        told = f"{needed} should not be greater than {_MOST_BITS}"
        found.append(causes.invalid(f"{path}.handSize", hand, told))


def _entropy(queues: int, hand: int) -> int:
    return math.ceil(math.log2(float(math.prod(range(queues - hand + 1, queues + 1)))))
