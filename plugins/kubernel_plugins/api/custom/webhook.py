"""Conversion by webhook: a ConversionReview for all objects at once.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go (v1.37).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import UnnamedError
from kubernel.registry.metadata import validate_metadata
from kubernel_plugins.webhooks import CallFailed, Target

if TYPE_CHECKING:
    import random

    from kubernel_plugins.webhooks import Caller

__all__ = ["WebhookConversion"]

Obj = dict[str, Any]

TIMEOUT = 30
"""Seconds that a webhook has."""
_REVIEWS = ("v1", "v1beta1")


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
            raise UnnamedError("no supported conversion review versions")
        uid = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"apiextensions.k8s.io/{self._review}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)},
        }
        try:
            answer = await self._caller.post(Target.of(self._config), orjson.dumps(review), TIMEOUT)
            converted = self._read(answer, uid)
        except CallFailed as error:
            raise UnnamedError(f"{about} failed: {error}") from None
        if len(converted) != len(objects):
            raise UnnamedError(f"{about} returned {len(converted)} objects, expected {len(objects)}")
        return [
            _checked(old, new, api_version, about, index)
            for index, (old, new) in enumerate(zip(objects, converted, strict=True))
        ]

    def _read(self, answer: bytes, uid: str) -> list[Any]:
        """The objects of the answer. Raises CallFailed."""
        try:
            review = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise CallFailed(f"couldn't get version/kind; json parse error: {error}") from None
        review = review if isinstance(review, dict) else {}
        response = review.get("response")
        if self._review == "v1":
            wanted = "apiextensions.k8s.io/v1, Kind=ConversionReview"
            got = f"{review.get('apiVersion', '')}, Kind={review.get('kind', '')}"
            if got != wanted:
                raise CallFailed(f"expected webhook response of {wanted}, got {got}")
        if not isinstance(response, dict):
            raise CallFailed("no response provided")
        if self._review == "v1" and response.get("uid") != uid:
            raise CallFailed(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        result = response.get("result")
        result = result if isinstance(result, dict) else {}
        status = result.get("status", "")
        if status != "Success":
            raise CallFailed(result.get("message") or f"response.result.status was '{status}', not 'Success'")
        found = response.get("convertedObjects") or []
        return found if isinstance(found, list) else []


def _checked(old: Obj, new: Any, api_version: str, about: str, index: int) -> Obj:
    """The converted object with the metadata that it must have kept."""
    invalid = f"{about} returned invalid converted object at index {index}"
    new = new if isinstance(new, dict) else {}
    if new.get("apiVersion") != api_version:
        got = new.get("apiVersion", "")
        raise UnnamedError(f"{invalid}: invalid groupVersion (expected {api_version}, received {got})")
    if new.get("kind") != old.get("kind"):
        raise UnnamedError(
            f"{invalid}: invalid kind (expected {old.get('kind', '')}, received {new.get('kind', '')})"
        )
    was = old.get("metadata") or {}
    metadata = new.get("metadata")
    if "metadata" not in new:
        raise UnnamedError(
            f"{about} returned invalid metadata in object at index {index}: missing metadata in "
            "converted object"
        )
    metadata = metadata if isinstance(metadata, dict) else {}
    for field, called in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        one, other = was.get(field, ""), metadata.get(field, "")
        if one != other:
            raise UnnamedError(f"{invalid}: must have the same {called}: {one} != {other}")
    try:
        kept = _metadata(was, metadata)
    except ValueError as error:
        raise UnnamedError(f"{about} returned invalid metadata in object at index {index}: {error}") from None
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
            raise ValueError(f"invalid metadata.{field} of type {type(value).__name__} in converted object")
        for key, text in value.items():
            if not isinstance(text, str):
                raise ValueError(
                    f"metadata.{field}[{key}] must be a string, but is {type(text).__name__} in converted object"
                )
        if value != was.get(field):
            wrong = validate_metadata({field: value})
            if wrong:
                told = [f"{cause.field}: {cause.message}" for cause in wrong]
                raise ValueError(told[0] if len(told) == 1 else f"[{', '.join(told)}]")
        kept[field] = value
    return kept
