"""ConfigMaps and Secrets."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from kubernel.objects import names
from kubernel.objects.go_json import object_problem
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["MAX_BYTES", "ConfigMapStrategy", "SecretStrategy"]

MAX_BYTES = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"

_REQUIRED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type's name
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def _frozen(obj: Obj, old: Obj, *keys: str) -> list[Cause]:
    """Once immutable, always immutable, and with the same data."""
    if not old.get("immutable"):
        return []
    found = []
    if not obj.get("immutable"):
        found.append(causes.forbidden("immutable", _FROZEN))
    found += [causes.forbidden(key, _FROZEN) for key in keys if (obj.get(key) or {}) != (old.get(key) or {})]
    return found


def _key_problems(keys: object, path: str) -> list[Cause]:
    if not isinstance(keys, dict):
        return []
    return [
        causes.invalid(f"{path}[{key}]", key, problem)
        for key in keys
        for problem in names.check_config_key(key)
    ]


def _decoded_size(text: str) -> int:
    return len(text) * 3 // 4 - text.count("=")


class ConfigMapStrategy(Builtin):
    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        found = _key_problems(data, "data")
        found += [
            causes.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
            for key in data
            if key in binary
        ]
        found += _key_problems(binary, "binaryData")
        size = sum(len(value.encode()) for value in data.values())
        size += sum(_decoded_size(value) for value in binary.values())
        if size > MAX_BYTES:
            found.append(causes.too_long("[]", MAX_BYTES))
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return _frozen(obj, old, "data", "binaryData") + self.validate_create(request, obj)


class SecretStrategy(Builtin):
    def default(self, obj: Obj) -> None:
        if not obj.get("type"):
            obj["type"] = "Opaque"
        plain = obj.get("stringData")
        if isinstance(plain, dict) and all(isinstance(value, str) for value in plain.values()):
            del obj["stringData"]
            if plain:
                data = obj.get("data")
                if not isinstance(data, dict):
                    data = obj["data"] = {}
                for key, value in plain.items():
                    data[key] = base64.b64encode(value.encode()).decode()

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if not obj.get("type"):
            obj["type"] = old.get("type", "Opaque")

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        data = obj.get("data") or {}
        found = _key_problems(data, "data")
        if sum(_decoded_size(value) for value in data.values()) > MAX_BYTES:
            found.append(causes.too_long("data", MAX_BYTES))
        found += self._type_problems(obj, data)
        return found

    @staticmethod
    def _type_problems(obj: Obj, data: dict[str, str]) -> list[Cause]:
        type = obj.get("type")
        if type == _ACCOUNT_TOKEN:
            if not field(obj, "metadata", "annotations", _ACCOUNT_NAME):
                return [causes.required(f"metadata.annotations[{_ACCOUNT_NAME}]")]
            return []
        if type == "kubernetes.io/basic-auth":
            if "username" not in data and "password" not in data:
                return [causes.required("data[username]"), causes.required("data[password]")]
            return []
        found = []
        for key in _REQUIRED_KEYS.get(type or "", ()):
            if key not in data or (key == "ssh-privatekey" and not data[key]):
                found.append(causes.required(f"data[{key}]"))
            elif key.startswith(".docker"):
                wrong = object_problem(base64.b64decode(data[key]).decode(errors="replace"))
                if wrong:
                    found.append(causes.invalid(f"data[{key}]", "<secret contents redacted>", wrong))
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found = []
        if obj.get("type") != old.get("type"):
            found.append(causes.invalid("type", obj.get("type"), causes.FIELD_IMMUTABLE))
        return found + _frozen(obj, old, "data") + self.validate_create(request, obj)
