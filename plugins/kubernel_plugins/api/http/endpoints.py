"""What is served beside resources: discovery, OpenAPI, version, health, metrics, documents of plugins."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

from kubernel import __version__
from kubernel.errors import MethodNotSupported

from . import query as q
from .documents import Documents
from .responses import TEXT_HEAD, NoPage, json_reply
from .transport import Reply, header_block

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.plugin.lifecycle import PluginState
    from kubernel.registry.request import UserInfo

    from .aggregation import Aggregator
    from .fairness import Fairness
    from .metrics import Metrics
    from .negotiate import Negotiator
    from .transport import Exchange

__all__ = ["Endpoints"]

_HEALTH = ("healthz", "livez", "readyz")
_METRICS_HEAD = header_block([("Content-Type", "text/plain; version=0.0.4; charset=utf-8")])
_V3_APIS = "/openapi/v3/apis/"
_DEBUG = "/debug/api_priority_and_fairness/"
_ROUTED = re.compile(
    "/version|/api(/[^/]+)?|/apis/[^/]+/[^/]+|/.well-known/openid-configuration|/openid/v1/jwks"
)
"""Paths that upstream's router knows: they refuse other methods. Its other documents do not look at the method."""
_INDEX = (
    "/.well-known/openid-configuration",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
)


class Endpoints:
    """Serves paths that are no resources; the caller has authorized them."""

    def __init__(
        self, handle: Handle, metrics: Metrics, negotiator: Negotiator, aggregator: Aggregator
    ) -> None:
        self.handle = handle
        self.metrics = metrics
        self.negotiator = negotiator
        self.documents = Documents(handle, negotiator, aggregator)
        self._aggregator = aggregator
        self.ready = False
        self.fairness: Fairness | None = None
        self._own = f"{handle.role}/{handle.name}"

    async def serve(self, exchange: Exchange, user: UserInfo, stamp: bytes) -> Reply | None:
        path = exchange.path.rstrip("/") or "/"
        reply = await self._read(exchange, user, stamp, path)
        if exchange.method not in ("GET", "HEAD") and _ROUTED.fullmatch(path):
            raise MethodNotSupported.for_path()
        return reply

    async def _read(self, exchange: Exchange, user: UserInfo, stamp: bytes, path: str) -> Reply | None:
        parts = path.split("/")
        first = parts[1]
        if first in _HEALTH and not exchange.path.endswith("/"):
            return self._health(first, "/".join(parts[2:]), q.parse(exchange.query))
        if path == "/version":
            return json_reply(200, self._version())
        if path.startswith(_V3_APIS):
            group, _, version = path.removeprefix(_V3_APIS).partition("/")
            remote = self._aggregator.find(group, version)
            if remote is not None and self._aggregator.published.converted(group, version) is None:
                return await self._aggregator.serve(exchange, user, remote, stamp)
        if first in ("api", "apis", "openapi"):
            return self.documents.serve(exchange, path)
        if path == "/metrics":
            others = [self.handle.hooks.metrics()]
            if self.fairness is not None:
                from .fairness.metrics import render

                others.append(render(self.fairness))
            text = self.metrics.render(others)
            return Reply(200, text.encode(), _METRICS_HEAD)
        if path.startswith(_DEBUG) and self.fairness is not None:
            from .fairness.dumps import dump

            details = bool(q.one(q.parse(exchange.query), "includeRequestDetails"))
            table = dump(self.fairness, path.removeprefix(_DEBUG), details=details)
            if table is None:
                raise NoPage.for_path()
            return Reply(200, table.encode(), TEXT_HEAD)
        if path == "/":
            return json_reply(
                200, {"paths": sorted({*_INDEX, *self.documents.paths(), *self._health_paths()})}
            )
        document = self.handle.hooks.document(path)
        if document is not None:
            content_type, body = document
            return Reply(200, body, header_block([("Content-Type", content_type)]))
        raise NoPage.for_path()

    def _version(self) -> dict[str, str]:
        version = self.handle.cluster.kubernetes_version
        major, minor, _ = version.lstrip("v").split(".", 2)
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        return {
            "major": major,
            "minor": minor,
            "emulationMajor": major,
            "emulationMinor": minor,
            "minCompatibilityMajor": major,
            "minCompatibilityMinor": str(int(minor) - 1),
            "gitVersion": f"{version}+kubernel.{__version__}",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": f"python{platform.python_version()}",
            "compiler": platform.python_implementation().lower(),
            "platform": f"{platform.system().lower()}/{machine}",
        }

    def _health_paths(self) -> list[str]:
        labels = [state.label for state in self.handle.plugins() if state.label != self._own]
        return [f"/{kind}/{check}" for kind in _HEALTH for check in ("ping", *labels)]

    @staticmethod
    def _problem(kind: str, state: PluginState) -> str:
        """Being alive needs no plugin but the store; being ready needs all. Errors stay in the log."""
        if state.phase == "running" or (kind != "readyz" and state.role != "store"):
            return ""
        return f"plugin is {state.phase}"

    def _health(self, kind: str, check: str, query: q.Query) -> Reply:
        excluded = set(query.get("exclude", ()))
        results: dict[str, str] = {"ping": ""}
        if kind == "readyz":
            results["started"] = "" if self.ready else "the server is starting or stopping"
        for state in self.handle.plugins():
            if state.label != self._own:
                results[state.label] = self._problem(kind, state)
        if check:
            if check not in results:
                raise NoPage.for_path()
            results = {check: results[check]}
        lines = []
        failed = False
        for name, problem in results.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif problem:
                failed = True
                lines.append(f"[-]{name} failed: {problem}")
            else:
                lines.append(f"[+]{name} ok")
        if failed:
            text = "\n".join([*lines, f"{kind} check failed", ""])
            return Reply(500, text.encode(), TEXT_HEAD)
        if "verbose" in query:
            return Reply(200, "\n".join([*lines, f"{kind} check passed", ""]).encode(), TEXT_HEAD)
        return Reply(200, b"ok", TEXT_HEAD)
