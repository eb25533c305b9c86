"""Names: the validation rules with upstream's messages, generated names, hashes in names.

Every ``check_*`` function returns a list of messages, empty when the value is good. Source of rules and
wording: k8s.io/apimachinery/pkg/util/validation and k8s.io/apimachinery/pkg/util/rand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import random

__all__ = [
    "Check",
    "check_config_key",
    "check_dns1035_label",
    "check_dns1123_label",
    "check_dns1123_subdomain",
    "check_env_name",
    "check_label_value",
    "check_path_segment",
    "check_port_name",
    "check_qualified_name",
    "generate",
    "masked",
    "pod_hash",
    "safe_encode",
]

Check = Callable[[str], list[str]]
"""What is wrong with a name, in upstream's words; empty for a good one."""

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels, nothing that looks like something else: generated names never spell words."""

GENERATED_BASE = 58
SUFFIX = 5

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"

_label = re.compile(_LABEL)
_subdomain = re.compile(_SUBDOMAIN)
_dns1035 = re.compile(_DNS1035)
_qualified = re.compile(_QUALIFIED)
_label_value = re.compile(_LABEL_VALUE)
_config_key = re.compile(_CONFIG_KEY)
_env_name = re.compile(r"[ -<>-~]+")
_port_characters = re.compile("[-a-z0-9]+")
_port = re.compile("(?=[0-9-]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")

_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)


_UUID_RANDOM = ~(0xC000 << 48 | 0xF000 << 64)
_UUID_4 = 0x8000 << 48 | 4 << 76


def _too_long(limit: int, unit: str = "characters") -> str:
    """Labels' keys and values count bytes, everything else characters: so say upstream's messages."""
    return f"must be no more than {limit} {unit}"


def _pattern(text: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


def _size(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))


def check_dns1123_label(value: str) -> list[str]:
    """Names that become one part of a host name: at most 63 of ``[a-z0-9-]``."""
    if len(value) <= 63 and _label.fullmatch(value):
        return []
    problems = [_too_long(63)] if _size(value) > 63 else []
    if not _label.fullmatch(value):
        if _subdomain.fullmatch(value):
            problems.append("must not contain dots")
        else:
            problems.append(
                _pattern(
                    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                    "and must start and end with an alphanumeric character",
                    _LABEL,
                    "my-name",
                    "123-abc",
                )
            )
    return problems


def check_dns1123_subdomain(value: str, unit: str = "characters") -> list[str]:
    """Most object names: at most 253 bytes of dotted labels."""
    if len(value) <= 253 and _subdomain.fullmatch(value):
        return []
    problems = [_too_long(253, unit)] if _size(value) > 253 else []
    if not _subdomain.fullmatch(value):
        problems.append(
            _pattern(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
                "'-' or '.', and must start and end with an alphanumeric character",
                _SUBDOMAIN,
                "example.com",
            )
        )
    return problems


def check_dns1035_label(value: str) -> list[str]:
    """Names of Services: a label that starts with a letter."""
    problems = [_too_long(63)] if _size(value) > 63 else []
    if not _dns1035.fullmatch(value):
        problems.append(
            _pattern(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
                "start with an alphabetic character, and end with an alphanumeric character",
                _DNS1035,
                "my-name",
                "abc-123",
            )
        )
    return problems


def check_qualified_name(value: str) -> list[str]:
    """``name`` or ``dns.prefix/name``: keys of labels and annotations, finalizers, extended resources."""
    if len(value) <= 63 and _qualified.fullmatch(value):
        return []
    parts = value.split("/")
    problems = []
    if len(parts) == 2:
        prefix, value = parts
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {text}" for text in check_dns1123_subdomain(prefix, "bytes")]
    elif len(parts) > 2:
        told = _pattern(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
        prefixed = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {told} {prefixed}"]
    if not value:
        problems.append("name part must be non-empty")
    elif _size(value) > 63:
        problems.append(f"name part {_too_long(63, 'bytes')}")
    if not _qualified.fullmatch(value):
        problems.append(f"name part {_pattern(_QUALIFIED_TEXT, _QUALIFIED, 'MyName', 'my.name', '123-abc')}")
    return problems


def check_label_value(value: str) -> list[str]:
    """Values of labels: empty, or at most 63 of ``[A-Za-z0-9-_.]``."""
    if len(value) <= 63 and _label_value.fullmatch(value):
        return []
    problems = [_too_long(63, "bytes")] if _size(value) > 63 else []
    if value and not _qualified.fullmatch(value):
        problems.append(
            _pattern(
                "a valid label must be an empty string or consist of alphanumeric characters, "
                "'-', '_' or '.', and must start and end with an alphanumeric character",
                _LABEL_VALUE,
                "MyValue",
                "my_value",
                "12345",
            )
        )
    return problems


def check_path_segment(value: str) -> list[str]:
    """What any object's name must at least be, since it is part of a URL."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{mark}'" for mark in "/%" if mark in value]


def check_config_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets, which become file names."""
    problems = [_too_long(253)] if _size(value) > 253 else []
    if not _config_key.fullmatch(value):
        problems.append(
            _pattern(
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                _CONFIG_KEY,
                "key.name",
                "KEY_NAME",
                "key-name",
            )
        )
    if value == ".":
        problems.append("must not be '.'")
    elif value == "..":
        problems.append("must not be '..'")
    elif value.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def check_env_name(value: str) -> list[str]:
    """Names of environment variables: printable ASCII without ``=`` (KEP-4369)."""
    if not value:
        return ["environment variable name must be non-empty"]
    if not _env_name.fullmatch(value):
        return [
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        ]
    return []


def check_port_name(value: str) -> list[str]:
    """Names of container and service ports (RFC 6335 service names)."""
    if len(value) <= 15 and _port.fullmatch(value):
        return []
    problems = [_too_long(15)] if _size(value) > 15 else []
    if not _port_characters.fullmatch(value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= character <= "z" for character in value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value[:1] == "-" or value[-1:] == "-":
        problems.append("must not begin or end with a hyphen")
    return problems


def masked(check: Check, base: str) -> list[str]:
    """Check a ``generateName``: a trailing dash is fine, since a suffix follows."""
    return check(f"{base[:-2]}a" if len(base) > 1 and base.endswith("-") else base)


def generate(base: str, rng: random.Random) -> str:
    """A name from a ``generateName``: the first 58 characters and 5 random ones."""
    return base[:GENERATED_BASE] + "".join(rng.choices(ALPHABET, k=SUFFIX))


def uuid(rng: random.Random) -> str:
    """A random one (RFC 9562, version 4)."""
    text = f"{rng.getrandbits(128) & _UUID_RANDOM | _UUID_4:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def safe_encode(text: str) -> str:
    """Each character as one of ``ALPHABET``: upstream's ``rand.SafeEncodeString``."""
    return "".join(ALPHABET[ord(character) % len(ALPHABET)] for character in text)


def pod_hash(template: Any, collision_count: int | None = None) -> str:
    """A pod template's ``pod-template-hash``: at most 10 characters, the same for equal templates.

    ``collision_count`` (``status.collisionCount``) gives another hash when two templates collide.
    Upstream hashes a dump of Go structures; only stability matters to clients, the value does not.
    """
    digest = hashlib.blake2b(orjson.dumps(template, option=orjson.OPT_SORT_KEYS), digest_size=4)
    if collision_count is not None:
        digest.update(collision_count.to_bytes(4, "little"))
    return safe_encode(str(int.from_bytes(digest.digest(), "little")))
