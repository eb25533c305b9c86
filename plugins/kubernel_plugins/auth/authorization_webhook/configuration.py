"""AuthorizationConfiguration of apiserver.config.k8s.io: read, checked, in upstream's words.

Source: k8s.io/apiserver/pkg/apis/apiserver/{v1,validation}, k8s.io/kubernetes/pkg/kubeapiserver/authorizer (v1.37).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kubernel import cel
from kubernel.errors import PluginError
from kubernel.objects import times
from kubernel_plugins.auth.authorization_webhook.conditions import Condition

if TYPE_CHECKING:
    from collections.abc import Set

__all__ = ["TYPES", "Configured", "WebhookSettings", "read"]

GROUP = "apiserver.config.k8s.io"
VERSIONS = ("v1", "v1beta1", "v1alpha1")
TYPES = ("ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook")
_MOST_CONDITIONS = 64
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_WRONG = (
    "authorizer name is invalid: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
    "'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_DEFAULT_TTLS = {"authorizedTTL": "5m", "unauthorizedTTL": "30s"}
_FIELDS: dict[str, set[str]] = {
    "": {"apiVersion", "kind", "authorizers"},
    "authorizers[]": {"type", "name", "webhook"},
    "authorizers[].webhook": {
        "timeout", "authorizedTTL", "cacheAuthorizedRequests", "unauthorizedTTL", "cacheUnauthorizedRequests",
        "subjectAccessReviewVersion", "matchConditionSubjectAccessReviewVersion", "failurePolicy", "connectionInfo",
        "matchConditions",
    },
    "authorizers[].webhook.connectionInfo": {"type", "kubeConfigFile"},
    "authorizers[].webhook.matchConditions[]": {"expression"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """A webhook; times in seconds. A TTL of 0 keeps nothing."""

    name: str
    kubeconfig: str
    timeout: float
    authorized_ttl: float
    unauthorized_ttl: float
    version: str
    denies_on_error: bool
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Configured:
    """An entry of ``authorizers``; ``webhook`` is None but for the type Webhook."""

    type: str
    name: str
    webhook: WebhookSettings | None


class _Unique(yaml.SafeLoader):
    """As sigs.k8s.io/yaml: a key may stand once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise _Repeated(f'line {line}: key "{key.value}" already set in map')
            seen[key.value] = 1
        return super().construct_mapping(node, deep)


class _Repeated(Exception):
    pass


def read(path: str, needed: Set[str] = frozenset()) -> list[Configured]:
    """What a file says. PluginError with upstream's sentence, also when a type that is ``needed`` is missing."""
    document = _document(path)
    problems: list[str] = []
    found: list[Configured] = []
    entries = document.get("authorizers") or []
    if not entries:
        problems.append("authorizers: Required value: at least one authorization mode must be defined")
    types: set[str] = set()
    names: set[str] = set()
    for number, entry in enumerate(entries):
        place = f"authorizers[{number}]"
        type, name = entry.get("type") or "", entry.get("name") or ""
        if not type:
            problems.append(f"{place}.type: Required value")
        elif type not in TYPES:
            problems.append(_unsupported(f"{place}.type", type, TYPES))
        elif type in types and type != "Webhook":
            problems.append(f'{place}.type: Duplicate value: "{type}"')
        else:
            types.add(type)
            if not name:
                problems.append(f"{place}.name: Required value")
            elif name in names:
                problems.append(f'{place}.name: Duplicate value: "{name}"')
            elif not _NAME.fullmatch(name) or len(name) > 253:
                problems.append(f'{place}.name: Invalid value: "{name}": {_NAME_WRONG}')
            names.add(name)
            found.append(Configured(type, name, _checked(entry, type, name, place, problems)))
    if problems:
        raise PluginError(_joined(problems))
    problems += (
        f"expected name {one.type.lower()} for authorizer {one.type} instead of {one.name}"
        for one in found
        if one.type != "Webhook" and one.name != one.type.lower()
    )
    if missing := sorted(needed - types):
        problems.append(f"missing required types: [{' '.join(missing)}]")
    if problems:
        raise PluginError(_joined(problems))
    return found


def _joined(problems: list[str]) -> str:
    return problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"


def _document(path: str) -> dict[str, Any]:
    def wrong(why: str) -> PluginError:
        return PluginError(f"failed to load AuthorizationConfiguration from file: {why}")

    try:
        document = yaml.load(Path(path).read_bytes(), _Unique)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise wrong(f"open {path}: {(error.strerror or '').lower()}") from None
    except _Repeated as repeated:
        raise wrong(f"strict decoding error: yaml: unmarshal errors:\n  {repeated}") from None
    except yaml.YAMLError as error:
        raise wrong(f"couldn't get version/kind; {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not document.get("kind"):
        raise wrong(f"Object 'Kind' is missing in '{Path(path).read_text()}'")
    group, _, version = str(document.get("apiVersion") or "").rpartition("/")
    if group != GROUP or version not in VERSIONS or document["kind"] != "AuthorizationConfiguration":
        raise wrong(
            f'no kind "{document["kind"]}" is registered for version "{document.get("apiVersion")}" in scheme '
            '"pkg/runtime/scheme.go:111"'
        )
    if not isinstance(document.get("authorizers") or [], list):
        raise wrong(
            f"json: cannot unmarshal {_json_kind(document['authorizers'])} into Go struct field "
            f"AuthorizationConfiguration.authorizers of type []{version}.AuthorizerConfiguration"
        )
    unknown = list(_unknown(document, "", ""))
    if unknown:
        told = ", ".join(f'unknown field "{one}"' for one in unknown)
        raise wrong(f"strict decoding error: {told}")
    return document


def _json_kind(value: Any) -> str:
    kinds: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", dict: "object"}
    return kinds.get(value.__class__, "array")


def _unknown(value: Any, path: str, shape: str) -> Any:
    """Fields that are not there, in document order."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(item, f"{path}[{number}]", f"{shape}[]")
    elif isinstance(value, dict):
        known = _FIELDS.get(shape)
        for key, item in sorted(value.items()):
            inner = f"{path}.{key}" if path else key
            if known is not None and key not in known:
                yield inner
            else:
                yield from _unknown(item, inner, f"{shape}.{key}" if shape else key)


def _unsupported(place: str, value: str, known: tuple[str, ...]) -> str:
    supported = ", ".join(f'"{one}"' for one in known)
    return f'{place}: Unsupported value: "{value}": supported values: {supported}'


def _checked(
    entry: Mapping[str, Any], type: str, name: str, place: str, problems: list[str]
) -> WebhookSettings | None:
    told = entry.get("webhook")
    if type != "Webhook":
        if told is not None:
            problems.append(
                f'{place}.webhook: Invalid value: "non-null": may only be specified when type=Webhook'
            )
        return None
    if told is None:
        problems.append(f"{place}.webhook: Required value: required when type=Webhook")
        return None
    return _Webhook(told, place, problems).settings(name)


class _Webhook:
    """One ``webhook``, checked. What is wrong goes to ``problems``."""

    def __init__(self, told: Mapping[str, Any], place: str, problems: list[str]) -> None:
        self._told = told
        self._place = place
        self._wrong: Callable[[str], None] = problems.append

    def settings(self, name: str) -> WebhookSettings:
        timeout = self._time("timeout", "must be > 0s and <= 30s", 30.0)
        kept = self._time("authorizedTTL", "must be > 0s")
        refused = self._time("unauthorizedTTL", "must be > 0s")
        version = self._one_of("subjectAccessReviewVersion", ("v1", "v1beta1"))
        conditions = self._told.get("matchConditions") or []
        if self._told.get("matchConditionSubjectAccessReviewVersion") or not conditions:
            self._one_of("matchConditionSubjectAccessReviewVersion", ("v1",), optional=True)
        else:
            self._wrong(
                f"{self._place}.matchConditionSubjectAccessReviewVersion: Required value: required if match conditions "
                "are specified"
            )
        policy = self._one_of("failurePolicy", ("NoOpinion", "Deny"))
        kubeconfig = self._connection()
        return WebhookSettings(
            name,
            kubeconfig,
            timeout,
            kept if self._told.get("cacheAuthorizedRequests", True) else 0.0,
            refused if self._told.get("cacheUnauthorizedRequests", True) else 0.0,
            version,
            policy == "Deny",
            self._conditions(conditions),
        )

    def _time(self, key: str, bounds: str, most: float | None = None) -> float:
        text = self._told.get(key) or _DEFAULT_TTLS.get(key, "0s")
        try:
            value = times.duration(text)
        except ValueError:
            raise PluginError(
                f'failed to load AuthorizationConfiguration from file: time: invalid duration "{text}"'
            ) from None
        if value == 0:
            self._wrong(f"{self._place}.{key}: Required value")
        elif value < 0 or (most is not None and value > most):
            shown = ("-" if value < 0 else "") + times.go_duration(abs(value))
            self._wrong(f'{self._place}.{key}: Invalid value: "{shown}": {bounds}')
        return value

    def _one_of(self, key: str, known: tuple[str, ...], *, optional: bool = False) -> str:
        value: str = self._told.get(key) or ""
        if not value and not optional:
            self._wrong(f"{self._place}.{key}: Required value")
        elif value and value not in known:
            self._wrong(_unsupported(f"{self._place}.{key}", value, known))
        return value

    def _connection(self) -> str:
        told = self._told.get("connectionInfo") or {}
        place, kind, path = (
            f"{self._place}.connectionInfo",
            told.get("type") or "",
            told.get("kubeConfigFile"),
        )
        file = f"{place}.kubeConfigFile"
        if not kind:
            self._wrong(f"{place}.type: Required value")
        elif kind == "InClusterConfig":
            if path is not None:
                self._wrong(f'{file}: Invalid value: "{path}": can only be set when type=KubeConfigFile')
        elif kind != "KubeConfigFile":
            shown = "null" if path is None else f'"{path}"'
            self._wrong(
                f'{place}.type: Unsupported value: {{"Type":"{kind}","KubeConfigFile":{shown}}}: supported values: '
                '"InClusterConfig", "KubeConfigFile"'
            )
        elif not path:
            self._wrong(f"{file}: Required value")
        elif not path.startswith("/"):
            self._wrong(f'{file}: Invalid value: "{path}": must be an absolute path')
        else:
            try:
                if not stat.S_ISREG(os.stat(path).st_mode):
                    self._wrong(f'{file}: Invalid value: "{path}": must be a regular file')
            except OSError as error:
                why = (error.strerror or "").lower()
                self._wrong(f'{file}: Invalid value: "{path}": error loading file: stat {path}: {why}')
        return path or ""

    def _conditions(self, told: list[Any]) -> tuple[Condition, ...]:
        place = f"{self._place}.matchConditions"
        if len(told) > _MOST_CONDITIONS:
            self._wrong(f"{place}: Too many: {len(told)}: must have at most {_MOST_CONDITIONS} items")
            return ()
        found: list[Condition] = []
        seen: set[str] = set()
        for number, one in enumerate(told):
            where, text = f"{place}[{number}].expression", one.get("expression") or ""
            if not text.strip():
                self._wrong(f"{where}: Required value")
                continue
            if text in seen:
                self._wrong(f'{where}: Duplicate value: "{text}"')
                continue
            seen.add(text)
            try:
                found.append(Condition(text))
            except cel.CompileError as error:
                self._wrong(f'{where}: Invalid value: "{text}": compilation failed: {error}')
            except TypeError as error:
                self._wrong(f'{where}: Invalid value: "{text}": {error}')
        return tuple(found)
