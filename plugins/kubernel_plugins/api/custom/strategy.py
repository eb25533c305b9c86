"""What is peculiar to custom resources.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/{strategy,status_strategy,validator}.go (v1.37).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kubernel.errors import Cause, MethodNotSupported
from kubernel.objects import names
from kubernel.objects.equality import same
from kubernel.registry.types import Strategy
from kubernel.registry.validation import validate
from kubernel_plugins.api.custom.embedded import check_embedded, has_embedded
from kubernel_plugins.api.custom.ruled import has_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubernel.registry.request import Request
    from kubernel.registry.schema import Node
    from kubernel_plugins.api.custom.expressions import Rules
    from kubernel_plugins.api.custom.scale import Scale

__all__ = ["CustomStrategy"]

Obj = dict[str, Any]

_BLOCKING = frozenset(
    (
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    )
)
_NO_MAP = "must be an object for an array of list-type map"
_STANDARD_FINALIZERS = frozenset(("orphan", "foregroundDeletion", "kubernetes"))
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


class CustomStrategy(Strategy):
    """Of one version of a definition. ``names`` is what its schema says about metadata."""

    resets = MappingProxyType({"status": ("metadata", "spec")})
    unconditional_update = False

    def __init__(self, node: Node, *, scale: Scale | None, names: Node | None, terminating: bool) -> None:
        self.node = node
        self.scale = scale
        self.names = names
        self.terminating = terminating
        self._embedded = has_embedded(node)
        self._ruled = has_rules(node)
        self._rules: Rules | None = None

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        if self.terminating:
            error = MethodNotSupported.for_verb(request.type.plural, request.type.group, "create")
            error.message = "create not allowed while custom resource definition is terminating"
            raise error
        if self.has_status(request):
            obj.pop("status", None)
        obj["metadata"]["generation"] = 1

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        if request.subresource == "status":
            _only_status(obj, old)
            return
        if self.has_status(request):
            _keep(obj, old, "status")
        if not same(_without_metadata(obj), _without_metadata(old)):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return self._check(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self._check(obj)

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        if request.subresource:
            return []
        known = (request.old or {"metadata": {}})["metadata"].get("finalizers") or ()
        told: list[str] = []
        for one in sorted(set(obj["metadata"].get("finalizers") or ()) - set(known)):
            told += [f'metadata.finalizers: "{one}": {text}' for text in names.check_qualified_name(one)]
            if "/" not in one and one not in _STANDARD_FINALIZERS:
                path = " including a path (/)" if "." in one else ""
                told.append(
                    f'metadata.finalizers: "{one}": prefer a domain-qualified finalizer name{path} to avoid accidental '
                    "conflicts with other finalizer writers"
                )
        return told

    def _check(self, obj: Obj) -> list[Cause]:
        return [] if self.names is None else validate(self.names, {"metadata": obj["metadata"]})

    def validate_schema(
        self, request: Request, obj: Obj, old: Obj | None, said: Sequence[Cause]
    ) -> list[Cause]:
        status = request.subresource == "status"
        found = super().validate_schema(request, obj, old, said)
        if status:
            found = list(map(_within_status, found))
        # Upstream looks at keys that are there twice when the schema has said all it has to say, and not where some
        # were before.
        if any(map(_of_lists, found)):
            kept = old is not None and any(map(_of_lists, validate(self.node, old)))
            found = [one for one in found if not _of_lists(one)] + (
                [] if kept else list(filter(_of_lists, found))
            )
        if self.scale is not None:
            found += self.scale.check(obj, status=status)
        if self._embedded and not status:
            found += check_embedded(self.node, obj)
        return found

    def validate_last(
        self, request: Request, obj: Obj, old: Obj | None, found: Sequence[Cause]
    ) -> list[Cause]:
        if not self._ruled:
            return []
        if any(cause.reason in _BLOCKING for cause in found):
            return [Cause("FieldValueInvalid", f"Invalid value: null: {_UNCHECKED}", "<nil>")]
        if self._rules is None:
            from kubernel_plugins.api.custom.expressions import Rules

            self._rules = Rules(self.node)
        return self._rules.check(obj, old, request.warn)


def _of_lists(cause: Cause) -> bool:
    return cause.reason == "FieldValueDuplicate" or cause.message.endswith(_NO_MAP)


def _within_status(cause: Cause) -> Cause:
    """A cause as it is told where the status alone is judged, whose fields are paths within it."""
    field = "status" if cause.field == "<nil>" else cause.field
    return Cause(cause.reason, cause.message.replace(" status.", " ", 1), field)


def _without_metadata(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key != "metadata"}


def _keep(obj: Obj, old: Obj, key: str) -> None:
    if key in old:
        obj[key] = old[key]
    else:
        obj.pop(key, None)


def _only_status(obj: Obj, old: Obj) -> None:
    """Through ``status`` nothing else is written, metadata neither: but who manages what of the status."""
    managed = obj["metadata"].get("managedFields")
    for key in obj.keys() | old.keys():
        if key != "status":
            _keep(obj, old, key)
    metadata = obj["metadata"] = dict(old["metadata"])
    if managed is not None:
        metadata["managedFields"] = managed
