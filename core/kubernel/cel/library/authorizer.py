"""Kubernetes' authorizer: ``authorizer.group('apps').resource('deployments').check('get').allowed()``.

Who evaluates gives an ``Authorizer`` as the value of a variable of type ``AUTHORIZER``; it asks its callback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kubernel.cel.errors import EvaluationError
from kubernel.cel.values import Opaque
from kubernel.objects import names

from .declare import Table, member

__all__ = ["Answer", "Authorizer", "Question", "ResourceCheck", "table"]

_PREFIX = "kubernetes.authorization."
_CHECK_COST = 350_000
"""Upstream allows two checks in an expression."""


class Question(NamedTuple):
    """What is asked. ``service_account`` is (namespace, name), or None for the request's own user."""

    service_account: tuple[str, str] | None
    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""


class Answer(NamedTuple):
    allowed: bool
    reason: str = ""
    error: str = ""


class Authorizer(Opaque):
    """The value of ``authorizer``. ``ask`` answers questions."""

    __slots__ = ("account", "ask")
    TYPE = f"{_PREFIX}Authorizer"

    def __init__(self, ask: Callable[[Question], Answer], account: tuple[str, str] | None = None) -> None:
        self.ask = ask
        self.account = account


class PathCheck(Opaque):
    __slots__ = ("authorizer", "path")
    TYPE = f"{_PREFIX}PathCheck"

    def __init__(self, authorizer: Authorizer, path: str) -> None:
        self.authorizer = authorizer
        self.path = path


class GroupCheck(Opaque):
    __slots__ = ("authorizer", "group")
    TYPE = f"{_PREFIX}GroupCheck"

    def __init__(self, authorizer: Authorizer, group: str) -> None:
        self.authorizer = authorizer
        self.group = group


class ResourceCheck(Opaque):
    """A question about a resource in the making; also the value of ``authorizer.requestResource``."""

    __slots__ = ("authorizer", "question")
    TYPE = f"{_PREFIX}ResourceCheck"

    def __init__(self, authorizer: Authorizer, question: Question) -> None:
        self.authorizer = authorizer
        self.question = question

    def but(self, **changes: Any) -> ResourceCheck:
        return ResourceCheck(self.authorizer, self.question._replace(**changes))


class Decision(Opaque):
    __slots__ = ("answer",)
    TYPE = f"{_PREFIX}Decision"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer, path)


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if names.check_dns1123_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if names.check_dns1123_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    return Authorizer(authorizer.ask, (namespace, name))


def _resource(check: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    authorizer = check.authorizer
    return ResourceCheck(authorizer, Question(authorizer.account, "", group=check.group, resource=resource))


def _check_path(check: PathCheck, verb: str) -> Decision:
    authorizer = check.authorizer
    return Decision(authorizer.ask(Question(authorizer.account, verb, path=check.path)))


def _check_resource(check: ResourceCheck, verb: str) -> Decision:
    return Decision(check.authorizer.ask(check.question._replace(verb=verb)))


def table() -> Table:
    authorizer, resource, decision = Authorizer.TYPE, ResourceCheck.TYPE, Decision.TYPE
    return [
        member("path", f"{authorizer};string", PathCheck.TYPE, _path),
        member("group", f"{authorizer};string", GroupCheck.TYPE, GroupCheck),
        member("serviceAccount", f"{authorizer};string;string", authorizer, _service_account),
        member("resource", f"{GroupCheck.TYPE};string", resource, _resource),
        member(
            "subresource", f"{resource};string", resource, lambda check, text: check.but(subresource=text)
        ),
        member("namespace", f"{resource};string", resource, lambda check, text: check.but(namespace=text)),
        member("name", f"{resource};string", resource, lambda check, text: check.but(name=text)),
        member(
            "fieldSelector",
            f"{resource};string",
            resource,
            lambda check, text: check.but(field_selector=text),
        ),
        member(
            "labelSelector",
            f"{resource};string",
            resource,
            lambda check, text: check.but(label_selector=text),
        ),
        member("check", f"{PathCheck.TYPE};string", decision, _check_path, _CHECK_COST),
        member("check", f"{resource};string", decision, _check_resource, _CHECK_COST),
        member("errored", decision, "bool", lambda one: bool(one.answer.error)),
        member("error", decision, "string", lambda one: one.answer.error),
        member("allowed", decision, "bool", lambda one: one.answer.allowed),
        member("reason", decision, "string", lambda one: one.answer.reason),
    ]
