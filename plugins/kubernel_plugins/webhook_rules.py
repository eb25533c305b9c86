"""What the address of a webhook must be, wherever one is configured.

Source: k8s.io/apiserver/pkg/util/webhook/validation.go (v1.37).
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

from kubernel.errors import Cause
from kubernel.objects import names
from kubernel.registry import causes

__all__ = ["check_ca_bundle", "check_client_config"]

Obj = dict[str, Any]

_FORM = "; desired format: https://host[/path]"


def check_client_config(config: Obj, path: str) -> list[Cause]:
    url, service = config.get("url"), config.get("service")
    if url is not None and service is None:
        return _check_url(url, f"{path}.url")
    if url is not None or service is None:
        return [causes.required(path, "exactly one of url or service is required")]
    found = [
        causes.required(f"{path}.service.{field}", f"service {field} is required")
        for field in ("name", "namespace")
        if not service.get(field)
    ]
    port = service.get("port", 443)
    if not 0 < port < 65536:
        text = "port is not valid: must be between 1 and 65535, inclusive"
        found.append(causes.invalid(f"{path}.service.port", port, text))
    return found + _check_path(service.get("path") or "/", f"{path}.service.path")


def _check_path(path: str, where: str) -> list[Cause]:
    if path == "/":
        return []
    found = []
    if not path.startswith("/"):
        found.append(causes.invalid(where, path, "must start with a '/'"))
    for index, step in enumerate(path[1:].removesuffix("/").split("/")):
        if not step:
            found.append(causes.invalid(where, path, f"segment[{index}] may not be empty"))
            continue
        found += [
            causes.invalid(where, path, f"segment[{index}]: {text}")
            for text in names.check_dns1123_subdomain(step)
        ]
    return found


def _check_url(url: str, path: str) -> list[Cause]:
    try:
        split = urlsplit(url)
        split.port  # noqa: B018 - raises for one that is no port
    except ValueError as error:
        return [causes.required(path, f"url must be a valid URL: {error}{_FORM}")]
    if not split.scheme and url.startswith(":"):
        told = f'url must be a valid URL: parse "{url}": missing protocol scheme'
        return [causes.required(path, f"{told}{_FORM}")]
    found = []
    if split.scheme != "https":
        text = f"'https' is the only allowed URL scheme{_FORM}"
        found.append(causes.invalid(path, split.scheme, text))
    if not split.hostname:
        found.append(causes.invalid(path, split.netloc, f"host must be specified{_FORM}"))
    if split.username is not None:
        text = "user information is not permitted in the URL"
        found.append(causes.invalid(path, split.netloc.rpartition("@")[0], text))
    if split.fragment:
        found.append(causes.invalid(path, split.fragment, "fragments are not permitted in the URL"))
    if split.query:
        found.append(causes.invalid(path, split.query, "query parameters are not permitted in the URL"))
    return found


def check_ca_bundle(bundle: bytes, path: str) -> list[Cause]:
    """``bundle`` is PEM."""
    try:
        ssl.create_default_context(cadata=bundle.decode("ascii"))
    except (ssl.SSLError, ValueError):
        text = "unable to load root certificates: unable to parse bytes as PEM block"
        return [causes.invalid(path, "", text)]
    return []
