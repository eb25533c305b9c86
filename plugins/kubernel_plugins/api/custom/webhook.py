"""Conversion by webhook: a ConversionReview for all objects at once.

What is wrong with an answer is worded as for a single object, which is what upstream asks about.
Source: k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import UnnamedError
from kubernel.objects import names
from kubernel.objects.go_json import go_type, kind_of
from kubernel.registry.metadata import validate_metadata
from kubernel_plugins.api.custom.conversion import Unanswered
from kubernel_plugins.webhooks import CallFailed, Target, decoded_review

if TYPE_CHECKING:
    import random

    from kubernel_plugins.webhooks import Caller

__all__ = ["WebhookConversion"]

Obj = dict[str, Any]

TIMEOUT = 30
"""Seconds that a webhook has."""
_GROUP = "apiextensions.k8s.io"
_REVIEWS = ("v1", "v1beta1")
_RESPONSE = (
    ("uid", str, "types.UID"),
    ("convertedObjects", list, "[]runtime.RawExtension"),
    ("result", dict, "v1.Status"),
)
"""Fields of a ConversionResponse, and Go's types."""


class WebhookConversion:
    """``conversion.Strategy`` by the ``webhook`` of a definition's conversion."""

    def __init__(self, webhook: Mapping[str, Any], caller: Caller, rng: random.Random) -> None:
        self._config: Mapping[str, Any] = webhook.get("clientConfig") or {}
        versions = webhook.get("conversionReviewVersions") or ()
        self._review = next((version for version in versions if version in _REVIEWS), "")
        self._caller = caller
        self._rng = rng

    async def __call__(self, objects: Sequence[Obj], api_version: str) -> Sequence[Obj]:
        first = objects[0]
        about = f"conversion webhook for {first.get('apiVersion', '')}, Kind={first.get('kind', '')}"
        if not self._review:
            raise Unanswered("no supported conversion review versions")
        uid = names.uuid(self._rng)
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"{_GROUP}/{self._review}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)},
        }
        try:
            answer = await self._caller.post(Target.of(self._config), orjson.dumps(review), TIMEOUT)
        except CallFailed as error:
            raise Unanswered(f"{about} failed: {error}") from None
        try:
            converted = self._read(answer, uid)
        except CallFailed as error:
            raise UnnamedError(f"{about} failed: {error}") from None
        if len(converted) != len(objects):
            raise UnnamedError(f"{about} returned {len(converted)} objects, expected {len(objects)}")
        return [_checked(old, new, api_version, about) for old, new in zip(objects, converted, strict=True)]

    def _read(self, answer: bytes, uid: str) -> list[Any]:
        """The objects of the answer. Raises CallFailed."""
        review = _decoded(answer, self._review)
        response = review.get("response")
        if self._review == "v1":
            wanted = f"{_GROUP}/v1, Kind=ConversionReview"
            got = f"{review.get('apiVersion') or '/'}, Kind={review.get('kind') or ''}"
            if got != wanted:
                raise CallFailed(f"expected webhook response of {wanted}, got {got}")
        if response is None:
            raise CallFailed("no response provided")
        got = response.get("uid") or ""
        if self._review == "v1" and got != uid:
            raise CallFailed(f'expected response.uid="{uid}", got "{got}"')
        result = response.get("result") or {}
        status = result.get("status", "")
        if status != "Success":
            raise CallFailed(result.get("message") or f"response.result.status was '{status}', not 'Success'")
        return response.get("convertedObjects") or []


def _decoded(answer: bytes, version: str) -> Obj:
    """The review of an answer, its response's fields being of their types. Raises CallFailed."""
    review = decoded_review(answer, _GROUP, version, "ConversionReview")
    response = review.get("response")
    if response is None:
        return review
    if not isinstance(response, dict):
        got = kind_of(response)
        raise CallFailed(
            f"json: cannot unmarshal {got} into Go struct field ConversionReview.response of type "
            f"{version}.ConversionResponse"
        )
    for key, type_, called in _RESPONSE:
        value = response.get(key)
        if value is not None and not isinstance(value, type_):
            raise CallFailed(
                f"json: cannot unmarshal {kind_of(value)} into Go struct field ConversionResponse.response.{key} "
                f"of type {called}"
            )
    return review


def _checked(old: Obj, new: Any, api_version: str, about: str) -> Obj:
    """The converted object with the metadata that it must have kept."""
    if new is None:
        raise UnnamedError("unexpected end of JSON input")
    if not isinstance(new, dict):
        raise UnnamedError(
            f"json: cannot unmarshal {kind_of(new)} into Go value of type map[string]interface {{}}"
        )
    kind = _text(new, "kind")
    if not kind:
        raise UnnamedError(f"Object 'Kind' is missing in '{orjson.dumps(new).decode()}'")
    invalid = f"{about} returned invalid object"
    if (got := _text(new, "apiVersion")) != api_version:
        raise UnnamedError(
            f"{invalid} at index 0: invalid groupVersion (expected {api_version}, received {got})"
        )
    if kind != old.get("kind"):
        raise UnnamedError(
            f"{invalid} at index 0: invalid kind (expected {old.get('kind', '')}, received {kind})"
        )
    was = old.get("metadata") or {}
    metadata = new.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    for field, called in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        one, other = was.get(field, ""), _text(metadata, field)
        if one != other:
            raise UnnamedError(f"{invalid}: must have the same {called}: {one} != {other}")
    try:
        kept = _metadata(was, metadata)
    except ValueError as error:
        raise UnnamedError(f"{about} returned invalid metadata: {error}") from None
    return {**new, "metadata": kept}


def _metadata(was: Obj, new: Obj) -> Obj:
    """Everything but labels and annotations is as it was. ValueError for what those may not be."""
    kept = dict(was)
    for field in ("labels", "annotations"):
        value = new.get(field)
        if value is None:
            kept.pop(field, None)
            continue
        if not isinstance(value, dict):
            raise ValueError(f"invalid metadata.{field} of type {go_type(value)} in converted object")
        for key, text in value.items():
            if not isinstance(text, str):
                raise ValueError(
                    f"metadata.{field}[{key}] must be a string, but is {go_type(text)} in converted object"
                )
        if value != was.get(field):
            wrong = validate_metadata({field: value})
            if wrong:
                # Upstream's path of annotations has no s here.
                path = "metadata.labels" if field == "labels" else "metadata.annotation"
                told = [f"{path}: {cause.message}" for cause in wrong]
                raise ValueError(told[0] if len(told) == 1 else f"[{', '.join(told)}]")
        kept[field] = value
    return kept


def _text(obj: Obj, key: str) -> str:
    value = obj.get(key)
    return value if isinstance(value, str) else ""
