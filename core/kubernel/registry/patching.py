"""A patch made on a live object, and whether the result still is an object of the type.

Source: k8s.io/apiserver/pkg/endpoints/handlers/patch.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from kubernel.errors import BadRequest, InternalError
from kubernel.objects.go_json import kind_of, printed
from kubernel.registry import metadata
from kubernel.registry.causes import show
from kubernel.registry.decode_errors import Undecodable, unconvertible
from kubernel.registry.decoding import decode, not_patched
from kubernel.registry.duplicates import duplicate_fields, may_repeat
from kubernel.registry.merging import check_applied, not_converted
from kubernel.registry.patch import json_patch, merge_patch, strategic_patch
from kubernel.registry.printing import print_patched

if TYPE_CHECKING:
    from kubernel.registry.operations import PatchType
    from kubernel.registry.request import Request
    from kubernel.registry.schema import Node
    from kubernel.registry.types import GroupVersionKind, Subresource
    from kubernel.store.records import Obj

__all__ = [
    "check_configuration",
    "check_patched",
    "decode_applied",
    "names_version",
    "patched",
    "repeated_fields",
]

_OPERATION = ("op", "path", "from", "value")


def patched(live: Obj, node: Node | None, patch_type: PatchType, body: Any) -> Any:
    """What a JSON, merge or strategic patch makes of ``live``, sharing what did not change."""
    if patch_type == "json":
        return json_patch(live, body)
    if not isinstance(body, dict):
        raise BadRequest("the patch must be a JSON object")
    if patch_type == "strategic" and node is not None:
        return strategic_patch(node, live, body)
    return merge_patch(live, body)


def repeated_fields(patch_type: PatchType, body: Any, raw: bytes) -> list[str]:
    """What is told of fields that stand twice in a patch, and of those that an operation has not."""
    found = duplicate_fields(raw) if may_repeat(raw, body) else []
    if patch_type == "json":
        found += [
            f'unknown field "[{index}].{key}"'
            for index, operation in enumerate(body)
            for key in (operation if isinstance(operation, dict) else ())
            if key not in _OPERATION
        ]
        found = [f"json patch {told}" for told in found]
    return found


def check_patched(
    request: Request,
    live: Obj,
    obj: Any,
    patch_type: PatchType,
    body: Any,
    repeated: Sequence[str] = (),
    view: Subresource | None = None,
) -> None:
    """Decode in place what a patch made of ``live``; Invalid where that is no object of the type, or of the kind of
    ``view``.

    The refusal tells the result, of a strategic patch the patch. ``repeated`` is what ``repeated_fields`` found.
    """
    type = request.type
    node = view.schema() if view is not None and view.schema is not None else type.schema()
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    nameless = not isinstance(meta, dict) and (meta is None or type.custom)
    if nameless and (type.custom or not isinstance(obj, dict)):
        raise _undeterminable(request.name)
    if nameless:
        obj["metadata"] = {}
    strategic = patch_type == "strategic"
    heads = ("kind", "apiVersion") if strategic else ("apiVersion", "kind")
    mistyped = next((key for key in heads if not isinstance(obj.get(key), str | None)), "")
    if strategic:
        # The result is made a struct of the type, which needs not be told what it is.
        for key in heads:
            if isinstance(obj.get(key), str):
                del obj[key]

    def told() -> str:
        if strategic:
            return printed(body)
        schema = node if view is None else None
        if type.custom and view is None:
            made = patched(live, schema, patch_type, body)
            return show(orjson.loads(orjson.dumps(made, option=orjson.OPT_SORT_KEYS)))
        given = body if patch_type == "json" else None
        return print_patched(live, node, lambda obj: patched(obj, schema, patch_type, body), given)

    if mistyped and strategic:
        raise not_patched(told(), unconvertible(obj[mistyped]))
    if mistyped:
        raise not_patched(
            told(),
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {kind_of(obj[mistyped])} "
            f"into Go struct field .{mistyped} of type string",
        )
    if not strategic and not obj.get("apiVersion"):
        _refuse_unversioned(request, obj, repeated, told)
    if type.custom and view is None:
        if not obj.get("kind"):
            raise not_patched(told(), f"Object 'Kind' is missing in '{told()}'")
        if (obj["apiVersion"], obj["kind"]) != (type.api_version, type.kind):
            raise metadata.other_custom(type, obj)
    try:
        kind = view.kind if view is not None else type.gvk
        metadata.check_kind(type, obj, kind.api_version, kind.kind)
        decode(request, node, obj, None, patch=True, patched=told, kind=kind, before=repeated)
    except Undecodable as wrong:
        raise not_patched(told(), wrong.converted if strategic else wrong.why) from None
    if nameless or not obj["metadata"].get("name"):
        raise _undeterminable(request.name)


def _refuse_unversioned(
    request: Request, obj: Obj, repeated: Sequence[str], told: Callable[[], str]
) -> NoReturn:
    """Without a version a result is read as upstream's internal type, which has no such fields, nor a name."""
    if request.type.custom:
        raise InternalError.because("Object 'apiVersion' is missing in 'object has no apiVersion field'")
    unknown = [f'unknown field "{key}"' for key in sorted(obj) if key not in ("apiVersion", "kind")]
    problems = [*repeated, *unknown]
    mode = request.options.field_validation
    if mode == "Strict":
        raise not_patched(told(), f"strict decoding error: {', '.join(problems)}")
    for problem in problems if mode == "Warn" else ():
        request.warn(problem)
    raise _undeterminable(request.name)


def _undeterminable(name: str) -> BadRequest:
    return BadRequest(
        f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
    )


def check_configuration(request: Request, body: Obj, node: Node | None, kind: GroupVersionKind) -> None:
    """Whether what is applied may be laid over an object of this schema and ``kind``. Raises BadRequest and
    UnnamedError in upstream's words."""
    version, name = (
        value if isinstance(value, str) else "" for value in (body.get("apiVersion"), body.get("kind"))
    )
    if version.count("/") > 1:
        version = name = ""
    if (version, name) != (kind.api_version, kind.kind):
        raise BadRequest(f"invalid object type: {version if '/' in version else '/' + version}, Kind={name}")
    meta = body.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    check_applied(node, body, kind.api_version)


def decode_applied(
    request: Request, node: Node | None, obj: Obj, applied: Obj, kind: GroupVersionKind
) -> None:
    """Decode in place what laying ``applied`` over an object gave; UnnamedError where that is none of ``kind``."""
    request.obj = obj
    if node is None:
        return
    try:
        decode(request, node, obj, None, patch=True, kind=kind)
    except Undecodable as wrong:
        raise not_converted(applied, kind.api_version, wrong.converted) from None


def names_version(patch_type: PatchType, body: Any) -> bool:
    """Whether a patch itself demands a resourceVersion."""
    if patch_type == "json":
        return any(isinstance(op, dict) and op.get("path") == "/metadata/resourceVersion" for op in body)
    meta = body.get("metadata") if isinstance(body, dict) else None
    return isinstance(meta, dict) and bool(meta.get("resourceVersion"))
