"""A patch made on a live object, and whether the result still is an object of the type.

Source: k8s.io/apiserver/pkg/endpoints/handlers/patch.go (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import BadRequest
from kubernel.objects.go_json import printed
from kubernel.registry import metadata
from kubernel.registry.causes import show
from kubernel.registry.decode_errors import Undecodable
from kubernel.registry.decoding import decode, not_patched
from kubernel.registry.patch import json_patch, merge_patch, strategic_patch

if TYPE_CHECKING:
    from kubernel.registry.operations import PatchType
    from kubernel.registry.request import Request
    from kubernel.registry.schema import Node
    from kubernel.store.records import Obj

__all__ = ["check_patched", "patched"]


def patched(live: Obj, node: Node | None, patch_type: PatchType, body: Any) -> Any:
    """What a JSON, merge or strategic patch makes of ``live``, sharing what did not change."""
    if patch_type == "json":
        return json_patch(live, body)
    if not isinstance(body, dict):
        raise BadRequest("the patch must be a JSON object")
    if patch_type == "strategic" and node is not None:
        return strategic_patch(node, live, body)
    return merge_patch(live, body)


def check_patched(request: Request, live: Obj, obj: Any, patch_type: PatchType, body: Any) -> None:
    """Decode in place what a patch made of ``live``; Invalid where that is no object of the type.

    The refusal tells the result, of a strategic patch the patch.
    """
    type, node = request.type, request.type.schema()
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    if not isinstance(meta, dict) and (meta is None or type.custom):
        raise BadRequest(
            f"the name of the object ({request.name} based on URL) was undeterminable: name must be provided"
        )
    strategic = patch_type == "strategic"
    if strategic:
        # The result is made a struct of the type, which needs not be told what it is.
        for key in ("apiVersion", "kind"):
            if isinstance(obj.get(key), str):
                del obj[key]

    def told() -> str:
        if strategic:
            return printed(body)
        made = patched(live, node, patch_type, body)
        return show({key: made[key] for key in sorted(made)})

    try:
        metadata.check_kind(type, obj)
        decode(request, node, obj, None, patch=True, patched=told)
    except Undecodable as wrong:
        raise not_patched(told(), wrong.converted if strategic else wrong.why) from None
