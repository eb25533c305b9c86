"""Content negotiation: what the client accepts, and what it sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from kubernel.errors import NotAcceptable, UnsupportedMediaType
from kubernel.registry.protobuf import MEDIA_TYPE

__all__ = ["PATCH_TYPES", "Form", "Negotiator", "first_accepted", "patch_type", "request_format"]

PATCH_TYPES: dict[str, Literal["json", "merge", "strategic", "apply"]] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_MEDIA: dict[str, Literal["json", "yaml", "protobuf"]] = {
    "application/json": "json",
    "application/yaml": "yaml",
    MEDIA_TYPE: "protobuf",
}
_META_VERSIONS = ("v1", "v1beta1")
_UNKNOWN_FORMAT = "the body of the request was in an unknown format - accepted media types include: "


class Form(NamedTuple):
    """How to answer. ``shape`` is ``object``, ``table``, ``partial`` (metadata only) or ``discovery``;
    ``version`` that of the meta.k8s.io or apidiscovery.k8s.io document asked for."""

    shape: Literal["object", "table", "partial", "discovery"]
    version: str = ""
    media: Literal["json", "yaml", "protobuf"] = "json"
    many: bool = False
    """Whether the metadata of a list was asked for by its name."""


OBJECT = Form("object")


class Negotiator:
    """Answers come from a bounded cache: clients repeat their Accept header in every request."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[Form, ...]] = {}

    def choose(
        self,
        accept: str,
        *,
        shapes: bool = True,
        discovery: bool = False,
        protobuf: bool = False,
        stream: bool = False,
        listing: bool = False,
    ) -> Form:
        """The first form the client prefers and we have; NotAcceptable otherwise.

        ``shapes`` allows Table and PartialObjectMetadata, ``discovery`` the aggregated discovery document.
        ``protobuf`` says that the object itself has a message: its metadata always has one, a Table never.
        ``stream`` is for watches, which are not written in YAML; ``listing`` for the path of lists and watches.
        """
        if not accept or accept in ("*/*", "application/json"):
            return OBJECT
        forms = self._cache.get(accept)
        if forms is None:
            if len(self._cache) > 512:
                self._cache.clear()
            forms = self._cache[accept] = _parse_accept(accept)
        for form in forms:
            if form.shape == "object":
                if protobuf or form.media != "protobuf":
                    break
            elif discovery if form.shape == "discovery" else shapes:
                break
        else:
            if protobuf and not _routed(accept):
                raise _not_routed(listing)
            raise _not_acceptable(stream)
        if stream and form.media == "yaml":
            raise _not_acceptable(stream)
        return form


def _not_acceptable(stream: bool) -> NotAcceptable:
    offers = [media for media in _MEDIA if not (stream and media.endswith("yaml"))]
    suffix = ";stream=watch" if stream else ""
    listed = ", ".join(media + suffix for media in offers)
    return NotAcceptable(f"only the following media types are accepted: {listed}")


def _routed(accept: str) -> bool:
    """Whether upstream's router, which knows no parameters, lets the request through."""
    return any(clause.partition(";")[0].strip() in (*_MEDIA, "*/*") for clause in accept.split(","))


def _not_routed(listing: bool) -> NotAcceptable:
    offers = [*_MEDIA]
    if listing:
        offers += [f"{media};stream=watch" for media in _MEDIA if not media.endswith("yaml")]
    error = NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(offers)}")
    error.detailed = True
    return error


def _parse_accept(accept: str) -> tuple[Form, ...]:
    weighted: list[tuple[float, Form]] = []
    for clause in accept.split(","):
        media, *rest = [part.strip() for part in clause.split(";")]
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        form = _form(media.lower(), parameters)
        if form is not None and quality > 0:
            weighted.append((quality, form))
    weighted.sort(key=lambda entry: -entry[0])
    return tuple(form for _, form in weighted)


def _form(name: str, parameters: dict[str, str]) -> Form | None:
    media = "json" if name in ("application/*", "*/*") else _MEDIA.get(name)
    if media is None or parameters.get("stream", "watch") != "watch":
        return None
    shape, version = parameters.get("as", ""), parameters.get("v", "")
    if not shape:
        return Form("object", media=media)
    group = parameters.get("g", "")
    if group == "meta.k8s.io" and version in _META_VERSIONS:
        if shape == "Table" and media != "protobuf":
            return Form("table", version, media)
        if shape in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Form("partial", version, media, shape.endswith("List"))
    if group == "apidiscovery.k8s.io" and shape == "APIGroupDiscoveryList" and version in ("v2", "v2beta1"):
        return Form("discovery", version, media)
    return None


def first_accepted(accept: str, offers: Sequence[str]) -> str:
    """The offer that the client prefers; empty when it wants none. Clauses of equal weight count in their order."""
    weighted: list[tuple[float, str]] = []
    for clause in (accept or "*/*").split(","):
        media, *rest = [part.strip() for part in clause.split(";")]
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        try:
            weighted.append((float(parameters.get("q", "1")), media))
        except ValueError:
            continue
    weighted.sort(key=lambda entry: -entry[0])
    for quality, media in weighted:
        for offer in offers if quality > 0 else ():
            if media in (offer, "*/*", offer.partition("/")[0] + "/*"):
                return offer
    return ""


def request_format(content_type: str, *, custom: bool = False) -> Literal["json", "yaml", "protobuf"]:
    """Of a POST, PUT or DELETE body; an absent header is JSON. Custom resources have no protobuf."""
    media = content_type.partition(";")[0].strip().lower()
    if media in ("", "application/json"):
        return "json"
    if media in ("application/yaml", "application/x-yaml", "text/yaml"):
        return "yaml"
    if media == MEDIA_TYPE and not custom:
        return "protobuf"
    raise UnsupportedMediaType(_UNKNOWN_FORMAT + ", ".join(_MEDIA))


def patch_type(content_type: str, *, custom: bool) -> Literal["json", "merge", "strategic", "apply"]:
    """Of a PATCH body; custom resources have no strategic merge.

    The refusals are two: upstream's router refuses for built-in types, its handler for custom resources.
    """
    media = content_type.partition(";")[0].strip().lower()
    kind = PATCH_TYPES.get(media)
    if kind is None or (custom and kind == "strategic"):
        if not custom:
            error = UnsupportedMediaType("415: Unsupported Media Type")
            error.detailed = True
            raise error
        accepted = [name for name, kind in PATCH_TYPES.items() if kind != "strategic"]
        raise UnsupportedMediaType(_UNKNOWN_FORMAT + ", ".join(accepted))
    return kind
