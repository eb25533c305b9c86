"""Building replies: header blocks, Status documents, warnings, compression."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import ApiError, InternalError, NotFound

from .transport import Reply, header_block

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry
    from kubernel.store.records import Obj

__all__ = [
    "JSON",
    "JSON_HEAD",
    "TEXT_HEAD",
    "NoPage",
    "as_media",
    "content_head",
    "error_reply",
    "gzip_reply",
    "json_reply",
    "not_served",
    "warning_head",
    "yaml_reply",
]

JSON = "application/json"
_STRING = "tag:yaml.org,2002:str"


def content_head(content_type: str) -> bytes:
    return header_block([("Cache-Control", "no-cache, private"), ("Content-Type", content_type)])


JSON_HEAD = content_head(JSON)
TEXT_HEAD = header_block(
    [
        ("Cache-Control", "no-cache, private"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("X-Content-Type-Options", "nosniff"),
    ]
)
GZIP_FROM = 128 * 1024
"""Smaller bodies cost more to compress than to send: the same limit as upstream's."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WARNING_TOTAL = 4096
_WARNING_EACH = 256


def as_media(reply: Reply, body: bytes, media: str) -> Reply:
    """``reply``, which is JSON, with the same said in another media type."""
    head = reply.head.replace(b"Content-Type: application/json", b"Content-Type: " + media.encode())
    return Reply(reply.status, body, head, reply.close)


def json_reply(status: int, obj: Obj | list[Any], head: bytes = JSON_HEAD) -> Reply:
    return Reply(status, orjson.dumps(obj), head)


class NoPage(NotFound):
    """Nothing is there: upstream's mux answers in plain text, only its groups' routers with a Status."""


def not_served(registry: Registry, group: str) -> NotFound:
    """Of a path below ``group``: built-in groups have routers of their own."""
    known = any(type.group == group and not type.custom for type in registry.types())
    return NotFound.for_path() if known else NoPage.for_path()


def error_reply(error: ApiError, extra: bytes = b"") -> Reply:
    """The Status for a refusal, with Retry-After where it names a time."""
    if isinstance(error, NoPage):
        return Reply(404, b"404 page not found\n", TEXT_HEAD + extra)
    head = JSON_HEAD + extra + warning_head(error.warnings)
    if error.retry_after:
        head += b"Retry-After: %d\r\n" % error.retry_after
    if error.status_code == 401:
        head += b'WWW-Authenticate: Bearer realm="kubernetes"\r\n'
    return Reply(error.status_code, orjson.dumps(error.to_status()), head, close=error.status_code == 413)


def internal_error(error: BaseException) -> InternalError:
    return InternalError(f"Internal error occurred: {type(error).__name__}")


def warning_head(warnings: Iterable[str]) -> bytes:
    """``Warning: 299 - "text"`` lines (RFC 7234 5.5). Texts are cut at 256 characters when all together pass 4096,
    and no more are added beyond that; one with control characters is dropped, quotes and backslashes are escaped.

    Source: k8s.io/apiserver/pkg/endpoints/filters/warning.go (v1.37).
    """
    texts = [text for text in dict.fromkeys(warnings) if text and not _CONTROL.search(text)]
    if not texts:
        return b""
    if sum(map(len, texts)) > _WARNING_TOTAL:
        texts = [text[:_WARNING_EACH] for text in texts]
    lines: list[tuple[str, str]] = []
    total = 0
    for text in texts:
        if total >= _WARNING_TOTAL:
            break
        total += len(text)
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(("Warning", f'299 - "{escaped}"'))
    return header_block(lines)


def gzip_reply(reply: Reply) -> Reply:
    """``reply`` compressed at the cheapest level."""
    return Reply(
        reply.status,
        zlib.compress(reply.body, 1, 31),
        reply.head + b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n",
        reply.close,
    )


def yaml_reply(reply: Reply) -> Reply:
    """``reply`` as YAML, for clients that accept nothing else."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        """Strings that would read as something else are quoted twice, as Go does."""

        def represent_str(self, data: str) -> Any:
            plain = self.resolve(yaml.ScalarNode, data, (True, False))
            return self.represent_scalar(_STRING, data, None if plain == _STRING else '"')

    Dumper.add_representer(str, Dumper.represent_str)
    text = yaml.dump(orjson.loads(reply.body), Dumper=Dumper, sort_keys=True, allow_unicode=True)
    return as_media(reply, text.encode(), "application/yaml")
