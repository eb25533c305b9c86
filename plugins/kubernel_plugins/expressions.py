"""The CEL of admission: what expressions of policies and webhooks may name, and one request as they see it.

Used by the admission plugins and by the validation of their configuration objects. Source:
k8s.io/apiserver/pkg/admission/plugin/cel/{compile,condition,composition}.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kubernel import cel
from kubernel.client.naming import groups_of
from kubernel.registry.attributes import Attributes
from kubernel.registry.request import UserInfo

if TYPE_CHECKING:
    from kubernel.plugin.manager import Hooks
    from kubernel.registry.request import Request
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = [
    "OBJECT",
    "PATCH",
    "Budget",
    "Expression",
    "ExpressionError",
    "MatchConditions",
    "OutOfBudget",
    "Variables",
    "View",
    "admission_request",
    "authorizer",
    "compile_expression",
    "environment",
]

_STRINGS = cel.map_of(cel.STRING, cel.STRING)
_AUTHORIZER = cel.opaque(cel.Authorizer.TYPE)
_OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


class ExpressionError(Exception):
    """An expression gave no value; ``str()`` is upstream's text."""


class OutOfBudget(ExpressionError):
    """The expressions of one policy cost more than a request may."""


def _kind(name: str, *fields: str) -> cel.Type:
    return cel.object_type(f"kubernetes.{name}", dict.fromkeys(fields, cel.STRING))


def _request_type() -> cel.Type:
    kind = _kind("GroupVersionKind", "group", "version", "kind")
    resource = _kind("GroupVersionResource", "group", "version", "resource")
    user = cel.object_type(
        "kubernetes.UserInfo",
        {
            "username": cel.STRING,
            "uid": cel.STRING,
            "groups": cel.list_of(cel.STRING),
            "extra": cel.map_of(cel.STRING, cel.list_of(cel.STRING)),
        },
    )
    return cel.object_type(
        "kubernetes.AdmissionRequest",
        {
            "kind": kind,
            "resource": resource,
            "subResource": cel.STRING,
            "requestKind": kind,
            "requestResource": resource,
            "requestSubResource": cel.STRING,
            "name": cel.STRING,
            "namespace": cel.STRING,
            "operation": cel.STRING,
            "userInfo": user,
            "dryRun": cel.BOOL,
            "options": cel.DYN,
        },
    )


def _namespace_type() -> cel.Type:
    metadata = cel.object_type(
        "kubernetes.NamespaceMetadata",
        {
            "name": cel.STRING,
            "generateName": cel.STRING,
            "namespace": cel.STRING,
            "labels": _STRINGS,
            "annotations": _STRINGS,
            "UID": cel.STRING,
            "creationTimestamp": cel.TIMESTAMP,
            "deletionGracePeriodSeconds": cel.INT,
            "deletionTimestamp": cel.TIMESTAMP,
            "generation": cel.INT,
            "resourceVersion": cel.STRING,
            "finalizers": cel.list_of(cel.STRING),
        },
    )
    spec = cel.object_type("kubernetes.NamespaceSpec", {"finalizers": cel.list_of(cel.STRING)})
    status = cel.object_type("kubernetes.NamespaceStatus", {"phase": cel.STRING})
    return cel.object_type("kubernetes.Namespace", {"metadata": metadata, "spec": spec, "status": status})


class _AnyFields(Mapping[str, cel.Type]):
    """Every name is a field: what an ``Object`` of a mutation has."""

    def __getitem__(self, name: str) -> cel.Type:
        return cel.DYN

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


PATCH = cel.object_type(
    "JSONPatch", {"op": cel.STRING, "from": cel.STRING, "path": cel.STRING, "value": cel.DYN}
)
OBJECT = cel.object_type("Object", _AnyFields())


def _patch_types(name: str) -> cel.Type | None:
    if name == "JSONPatch":
        return PATCH
    if name == "Object" or name.startswith("Object."):
        return cel.object_type(name, _AnyFields())
    return None


def environment(
    *,
    params: bool | cel.Type,
    authorizer: bool = True,
    variables: Mapping[str, cel.Type] | None = None,
    patches: bool = False,
    object: cel.Type = cel.DYN,
) -> cel.Environment:
    """What an expression may name. ``variables`` are the policy's own so far (None: it has none), ``patches``
    the types of mutations. ``object`` is the type of ``object`` and ``oldObject``; ``params`` that of ``params``, or
    whether it is there."""
    declared: dict[str, cel.Type] = {
        "object": object,
        "oldObject": object,
        "request": _request_type(),
        "namespaceObject": _namespace_type(),
    }
    if params:
        declared["params"] = cel.DYN if params is True else params
    if authorizer:
        declared["authorizer"] = _AUTHORIZER
        declared["authorizer.requestResource"] = cel.opaque(cel.ResourceCheck.TYPE)
    if variables is not None:
        declared["variables"] = cel.object_type("kubernetes.variables", variables)
    return cel.Environment(declared, _patch_types if patches else None)


def compile_expression(where: cel.Environment, source: str, returns: Iterable[cel.Type]) -> cel.Program:
    """The program of an expression that gives one of these types. Raises ExpressionError."""
    try:
        program = where.compile(source)
    except cel.CompileError as error:
        raise ExpressionError(f"compilation failed: {error}") from error
    wanted = tuple(returns)
    if wanted and program.result not in wanted and cel.DYN not in wanted:
        said = str(wanted[0]) if len(wanted) == 1 else f"one of [{' '.join(map(_type_text, wanted))}]"
        raise ExpressionError(f"must evaluate to {said} but got {_type_text(program.result)}")
    return program


def _type_text(kind: cel.Type) -> str:
    return "null_type" if kind == cel.NULL else str(kind)


class Expression:
    """One expression of a policy, compiled when the policy is; a mistake is kept and told when it is used."""

    __slots__ = ("error", "program", "source")

    def __init__(self, where: cel.Environment, source: str, returns: Iterable[cel.Type]) -> None:
        self.source = source
        self.program: cel.Program | None = None
        self.error = ""
        try:
            self.program = compile_expression(where, source, returns)
        except ExpressionError as error:
            self.error = str(error)

    def evaluate(self, view: View, budget: Budget) -> Any:
        """The value for a request. Raises ExpressionError."""
        if self.program is None:
            raise ExpressionError(f"compilation error: {self.error}")
        try:
            return budget.run(self.program, view)
        except OutOfBudget:
            raise
        except cel.EvaluationError as error:
            raise ExpressionError(f"expression '{self.source}' resulted in error: {error}") from error


class Budget:
    """What the expressions of one policy may still cost for one request."""

    __slots__ = ("left",)

    def __init__(self, left: int = cel.RUNTIME_BUDGET) -> None:
        self.left = left

    def run(self, program: cel.Program, view: View) -> Any:
        """Raises EvaluationError, OutOfBudget."""
        limit = min(cel.PER_CALL_LIMIT, self.left)
        try:
            value, cost = program.run(view, limit)
        except cel.EvaluationError as error:
            self.left -= error.cost
            if self.left < 0:
                raise OutOfBudget(_OUT_OF_BUDGET) from error
            raise
        self.left -= cost
        return value


class Variables:
    """A policy's variables: compiled in order, each sees those before it; evaluated when first asked for."""

    __slots__ = ("expressions", "types")

    def __init__(
        self, spec: Iterable[Mapping[str, str]], *, params: bool | cel.Type, object: cel.Type = cel.DYN
    ) -> None:
        self.expressions: dict[str, Expression] = {}
        self.types: dict[str, cel.Type] = {}
        for variable in spec:
            where = environment(params=params, variables=self.types, object=object)
            expression = Expression(where, variable.get("expression", ""), ())
            name = variable.get("name", "")
            self.expressions[name] = expression
            self.types[name] = expression.program.result if expression.program is not None else cel.DYN


class _Values(dict[str, Any]):
    """``variables`` of one request; what failed fails again without a second try."""

    def __init__(self, view: View, expressions: Mapping[str, Expression], budget: Budget) -> None:
        super().__init__()
        self._view = view
        self._expressions = expressions
        self._budget = budget
        self._failed: dict[str, str] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._expressions

    def __missing__(self, name: str) -> Any:
        if name not in self._failed:
            expression = self._expressions[name]
            if expression.program is None:
                self._failed[name] = f'composited variable "{name}" fails to compile: {expression.error}'
            else:
                try:
                    value = self[name] = self._budget.run(expression.program, self._view)
                except cel.EvaluationError as error:
                    self._failed[name] = f'composited variable "{name}" fails to evaluate: {error}'
                else:
                    return value
        raise cel.EvaluationError(self._failed[name])


class View(dict[str, Any]):
    """One request as expressions see it: in the version that the policy matched, made as far as it is looked at.

    ``type`` is the matched version, ``object`` and ``old`` are the request's objects in it.
    """

    def __init__(
        self,
        request: Request,
        type: ResourceType,
        object: Obj | None,
        old: Obj | None,
        *,
        params: Obj | None = None,
        namespace: Obj | None = None,
        ask: cel.Authorizer | None = None,
    ) -> None:
        super().__init__(object=object, oldObject=old, params=params, namespaceObject=namespace)
        self._request = request
        self._type = type
        if ask is not None:
            self["authorizer"] = ask

    def with_variables(self, variables: Variables, budget: Budget) -> View:
        self["variables"] = _Values(self, variables.expressions, budget)
        return self

    def __missing__(self, name: str) -> Any:
        if name == "request":
            value: Any = admission_request(self._request, self._type)
        elif name == "authorizer.requestResource":
            value = _request_resource(self._request, self["authorizer"])
        else:
            raise KeyError(name)
        self[name] = value
        return value


def admission_request(request: Request, type: ResourceType) -> dict[str, Any]:
    """The request as admission.k8s.io/v1 AdmissionRequest, without objects; empty fields are left out.

    ``type`` is the version that was matched, which may be another than the request's.
    """
    own = request.type
    sub = own.subresources.get(request.subresource)
    kind = sub.kind if sub is not None and sub.kind.kind else None
    made: dict[str, Any] = {
        "kind": _gvk(kind or type.gvk),
        "resource": {"group": type.group, "version": type.version, "resource": type.plural},
        "requestKind": _gvk(kind or own.gvk),
        "requestResource": {"group": own.group, "version": own.version, "resource": own.plural},
        "operation": request.operation,
        "userInfo": request.user.as_dict(),
        "dryRun": request.dry_run,
        "options": _options(request),
    }
    if request.subresource:
        made["subResource"] = made["requestSubResource"] = request.subresource
    creating = request.obj if request.operation == "CREATE" and not request.subresource else None
    # Before it has one, what an object's name will begin with is told in refusals alone.
    name = request.name if creating is None else creating["metadata"].get("name")
    if name:
        made["name"] = name
    # A Namespace is in itself.
    namespace = name if (own.group, own.plural) == ("", "namespaces") else request.namespace
    if namespace:
        made["namespace"] = namespace
    return made


def _gvk(kind: Any) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _options(request: Request) -> dict[str, Any] | None:
    operation = request.operation
    if operation == "CONNECT":
        return None
    if operation == "DELETE":
        made: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        wanted = request.delete_options
        if wanted is not None:
            if wanted.grace_period is not None:
                made["gracePeriodSeconds"] = wanted.grace_period
            if wanted.propagation is not None:
                made["propagationPolicy"] = wanted.propagation
    else:
        # A patch is told as what it comes to.
        kind = "CreateOptions" if operation == "CREATE" else "UpdateOptions"
        made = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
        made.update(request.options.said)
    if request.dry_run:
        made["dryRun"] = ["All"]
    return made


def _request_resource(request: Request, asker: cel.Authorizer) -> cel.ResourceCheck:
    question = cel.Question(
        None,
        "",
        group=request.type.group,
        resource=request.type.plural,
        subresource=request.subresource,
        namespace=request.namespace,
        name=request.name,
    )
    return cel.ResourceCheck(asker, question)


def authorizer(hooks: Hooks, user: UserInfo) -> cel.Authorizer:
    """``authorizer`` for a request of this user. The same question is asked once."""
    answers: dict[cel.Question, cel.Answer] = {}

    def ask(question: cel.Question) -> cel.Answer:
        known = answers.get(question)
        if known is not None:
            return known
        asker = user
        if question.service_account is not None:
            name = "system:serviceaccount:{}:{}".format(*question.service_account)
            asker = UserInfo(name, groups_of(name))
        decision = hooks.authorize(
            Attributes(
                asker,
                question.verb,
                group=question.group,
                version="" if question.path else "*",
                resource=question.resource,
                subresource=question.subresource,
                namespace=question.namespace,
                name=question.name,
                path=question.path,
                label_selector=question.label_selector,
                field_selector=question.field_selector,
            )
        )
        answer = answers[question] = cel.Answer(decision.allowed, decision.reason)
        return answer

    return cel.Authorizer(ask)


class MatchConditions:
    """``matchConditions`` of a policy or webhook: all must hold. They see no variables."""

    __slots__ = ("conditions",)

    def __init__(
        self,
        spec: Iterable[Mapping[str, str]] | None,
        *,
        params: bool = False,
    ) -> None:
        self.conditions: list[Expression] = []
        if spec:
            where = environment(params=params)
            self.conditions = [Expression(where, one.get("expression", ""), (cel.BOOL,)) for one in spec]

    def hold(self, view: View) -> bool:
        """Whether all hold. One that is false decides, whatever the others say; otherwise what failed is raised
        as ExpressionError."""
        if not self.conditions:
            return True
        budget = Budget(cel.MATCH_BUDGET)
        failed: list[str] = []
        for condition in self.conditions:
            try:
                value = condition.evaluate(view, budget)
            except OutOfBudget:
                raise
            except ExpressionError as error:
                if str(error) not in failed:
                    failed.append(str(error))
                continue
            if value is False:
                return False
        if failed:
            raise ExpressionError(failed[0] if len(failed) == 1 else f"[{', '.join(failed)}]")
        return True
