"""What streams to and from a node: logs, exec, attach, port forwarding."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import (
    ApiError,
    BadRequest,
    Cause,
    Invalid,
    MethodNotSupported,
    ServiceUnavailable,
)

from . import query as q
from .transport import Reply, header_block

if TYPE_CHECKING:
    from kubernel.plugin.contract import Execution, NodeStreams
    from kubernel.plugin.manager import Hooks
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import UserInfo
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

    from .identity import Gate
    from .paths import Target
    from .transport import Exchange, SocketChannel

__all__ = ["Connector"]

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_TEXT = header_block([("Cache-Control", "no-cache, private"), ("Content-Type", "text/plain")])
_LOG_OPTIONS = (
    "container", "follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream",
)  # fmt: skip


class Connector:
    """Serves the subresources that are marked ``connect``."""

    def __init__(
        self, registry: Registry, hooks: Hooks, gate: Gate, pick: Callable[[list[Any]], Any]
    ) -> None:
        self.registry = registry
        self.hooks = hooks
        self.gate = gate
        self._pick = pick

    async def serve(
        self,
        exchange: Exchange,
        user: UserInfo,
        type: ResourceType,
        target: Target,
        verb: str,
        query: q.Query,
        stamp: bytes,
    ) -> Reply | None:
        if target.resource == "pods" and target.subresource == "log":
            if exchange.method not in ("GET", "HEAD"):
                raise MethodNotSupported.for_path()
            return await self._log(exchange, type, target, query, stamp)
        if target.subresource != "proxy" and exchange.method not in ("GET", "HEAD", "POST"):
            raise MethodNotSupported.for_path()
        if query.get("dryRun"):
            raise BadRequest("dryRun is not supported")
        if target.resource == "pods" and target.subresource in ("exec", "attach"):
            return await self._run(exchange, user, type, target, query)
        if target.resource == "pods" and target.subresource == "portforward":
            return await self._forward(exchange, user, type, target, query)
        if target.subresource == "proxy":
            from .proxying import Proxy

            return await Proxy(self.registry, self._streams, self._pick).serve(
                exchange, user, type, target, stamp
            )
        raise BadRequest(f"{target.resource}/{target.subresource} is not supported by this server")

    def _streams(self, pod: Obj) -> NodeStreams:
        name = pod["metadata"]["name"]
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            raise BadRequest(f"pod {name} does not have a host assigned")
        streams = self.hooks.node_streams(node)
        if streams is None:
            raise ServiceUnavailable(f'node "{node}" of pod "{name}" cannot be reached')
        return streams

    async def _log(
        self, exchange: Exchange, type: ResourceType, target: Target, query: q.Query, stamp: bytes
    ) -> Reply | None:
        pod = self.registry.get(type, target.namespace, target.name).obj
        options = log_options(query, target.name)
        container = choose_container(pod, q.one(query, "container"))
        if not (pod.get("spec") or {}).get("nodeName"):
            return Reply(200, b"", _TEXT)
        chunks = self._streams(pod).logs(pod, container, options)
        try:
            first = await anext(chunks, b"")
            stream = await exchange.stream(200, _TEXT + stamp)
            try:
                await stream.write(first)
                async for chunk in chunks:
                    await stream.write(chunk)
            except ApiError as late:
                await stream.write(f"\n{late.message}\n".encode())
            finally:
                await stream.close()
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
        return None

    async def _run(
        self, exchange: Exchange, user: UserInfo, type: ResourceType, target: Target, query: q.Query
    ) -> Reply | None:
        stdin, stdout, stderr, tty = (q.flag(query, name) for name in ("stdin", "stdout", "stderr", "tty"))
        command = query.get("command", [])
        executes = target.subresource == "exec"
        kind = "PodExecOptions" if executes else "PodAttachOptions"
        options: dict[str, Any] = {"kind": kind, "apiVersion": "v1"}
        said: dict[str, Any] = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "tty": tty}
        said["container"] = q.one(query, "container")
        options |= {name: value for name, value in said.items() if value}
        if executes:
            options["command"] = command
        pod = (
            await self.registry.connect(
                user, type, target.namespace, target.name, target.subresource, options
            )
        ).obj
        container = choose_container(pod, q.one(query, "container"))
        streams = self._streams(pod)
        if executes and not command:
            raise BadRequest("you must specify at least 1 command for the container")
        if not (stdin or stdout or stderr):
            raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
        if not exchange.wants_socket:
            raise _no_upgrade(PROTOCOLS[0])
        session = _Session(await exchange.upgrade(PROTOCOLS), stdin, stdout, stderr and not tty)
        try:
            if executes:
                execution = await streams.exec(pod, container, command, stdin=stdin, tty=tty)
            else:
                execution = await streams.attach(pod, container, stdin=stdin, tty=tty)
        except ApiError as refusal:
            # A failed upgrade would send the client looking for another protocol: it is told in this one.
            await session.refuse(refusal)
            return None
        try:
            await session.run(execution, tells_code=executes)
        finally:
            await execution.close()
        return None

    async def _forward(
        self, exchange: Exchange, user: UserInfo, type: ResourceType, target: Target, query: q.Query
    ) -> Reply | None:
        from .portforward import PROTOCOLS as FORWARDING
        from .portforward import PortForward, forwarded_ports

        ports = forwarded_ports(query)
        options: Obj = {"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": ports}
        pod = (
            await self.registry.connect(user, type, target.namespace, target.name, "portforward", options)
        ).obj
        streams = self._streams(pod)
        if not exchange.wants_socket:
            raise _no_upgrade(FORWARDING[0])
        channel = await exchange.upgrade(FORWARDING)
        await PortForward(channel, streams, pod).run(ports)
        return None


def _no_upgrade(protocol: str) -> BadRequest:
    return BadRequest(
        f"unable to upgrade: this server streams over WebSocket only; use a client that speaks {protocol}"
    )


class _Session:
    """Copies between a WebSocket's channels and a process."""

    def __init__(self, channel: SocketChannel, stdin: bool, stdout: bool, stderr: bool) -> None:
        self.channel = channel
        self.stdin = stdin
        self.wanted = {1: stdout, 2: stderr}
        self.versioned = channel.protocol.startswith(("v4", "v5"))

    async def refuse(self, error: ApiError) -> None:
        with contextlib.suppress(ConnectionError):
            await self._tell(error.to_status(), error.message)
            await self.channel.close()

    async def run(self, execution: Execution, *, tells_code: bool) -> None:
        """``tells_code``: an exit code is the client's own. Who attaches has seen the end of somebody else's."""
        reader = asyncio.ensure_future(self._input(execution))
        writer = asyncio.ensure_future(self._output(execution))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                code = writer.result()
                await self._finish(code if tells_code else 0)
        except ApiError as error:
            await self._tell(error.to_status(), error.message)
        except ConnectionError:
            pass
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            await self.channel.close()

    async def _output(self, execution: Execution) -> int:
        async for source, chunk in execution.output():
            if self.wanted.get(source) and chunk:
                await self.channel.send(bytes((source,)) + chunk)
        return await execution.wait()

    async def _input(self, execution: Execution) -> None:
        """Returns when the client closes the socket: then the session is over."""
        async for message in self.channel.messages():
            if not message:
                continue
            number, data = message[0], message[1:]
            if number == _STDIN and self.stdin:
                await execution.write(data)
            elif number == _RESIZE:
                await self._resize(execution, data)
            elif number == _CLOSE and data[:1] == b"\0":
                await execution.close_stdin()

    async def _resize(self, execution: Execution, data: bytes) -> None:
        try:
            size = orjson.loads(data)
            width, height = int(size["Width"]), int(size["Height"])
        except (ValueError, TypeError, KeyError):
            return
        if 0 < width < 65536 and 0 < height < 65536:
            await execution.resize(width, height)

    async def _finish(self, code: int) -> None:
        if code == 0:
            await self._tell({"metadata": {}, "status": "Success"}, "")
            return
        message = f"command terminated with non-zero exit code: exit status {code}"
        await self._tell(
            {
                "metadata": {},
                "status": "Failure",
                "message": message,
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
            },
            message,
        )

    async def _tell(self, status: Obj, text: str) -> None:
        if self.versioned:
            await self.channel.send(bytes((_ERROR,)) + orjson.dumps(status))
        elif text:
            await self.channel.send(bytes((_ERROR,)) + text.encode())


def log_options(query: q.Query, pod: str) -> Mapping[str, str]:
    """Checked PodLogOptions. Source: k8s.io/kubernetes/pkg/apis/core/validation ``ValidatePodLogOptions``."""
    causes: list[Cause] = []

    def at_least(name: str, least: int) -> None:
        value = q.integer(query, name)
        if value is not None and value < least:
            causes.append(
                Cause(
                    "FieldValueInvalid",
                    f"Invalid value: {value}: must be greater than or equal to {least}"
                    if least == 0
                    else f"Invalid value: {value}: must be greater than 0",
                    name,
                )
            )

    at_least("tailLines", 0)
    at_least("limitBytes", 1)
    at_least("sinceSeconds", 1)
    if q.one(query, "sinceSeconds") and q.one(query, "sinceTime"):
        causes.append(
            Cause(
                "FieldValueForbidden",
                "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
                "",
            )
        )
    since = q.one(query, "sinceTime")
    if since:
        from kubernel.objects import times

        try:
            times.parse(since)
        except ValueError:
            raise BadRequest(f'parsing time "{since}" as "2006-01-02T15:04:05Z07:00": cannot parse') from None
    stream = q.one(query, "stream")
    if stream not in ("", "All", "Stdout", "Stderr"):
        causes.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{stream}": supported values: "All", "Stderr", "Stdout"',
                "stream",
            )
        )
    if causes:
        raise Invalid.for_object("PodLogOptions", "", pod, causes)
    options = {name: query[name][0] for name in _LOG_OPTIONS if query.get(name)}
    for name in ("follow", "previous", "timestamps"):
        if name in options:
            options[name] = "true" if q.flag(query, name) else "false"
    return options


def choose_container(pod: Obj, wanted: str) -> str:
    """The named container or the only one. BadRequest in upstream's words."""
    spec = pod.get("spec") or {}
    names = [container["name"] for container in spec.get("containers") or ()]
    init = [container["name"] for container in spec.get("initContainers") or ()]
    ephemeral = [container["name"] for container in spec.get("ephemeralContainers") or ()]
    pod_name = pod["metadata"]["name"]
    if not wanted:
        if len(names) == 1:
            return str(names[0])
        if not names:
            raise BadRequest(f"a container name must be specified for pod {pod_name}")
        told = f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(names)}]"
        if init:
            told += f" or one of the init containers: [{' '.join(init)}]"
        if ephemeral:
            told += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
        raise BadRequest(told)
    if wanted not in (*names, *init, *ephemeral):
        raise BadRequest(f"container {wanted} is not valid for pod {pod_name}")
    return wanted
