"""What probes and lifecycle hooks do: run a command, GET a URL, open a connection, sleep."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.plugin.contract import RuntimeRefusal
from kubernel_plugins.node.kubelet import httpget

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.plugin.contract import Runtime

__all__ = ["handle"]

_OUTPUT = 10 * 1024


async def handle(
    action: Mapping[str, Any],
    *,
    container: Mapping[str, Any],
    container_id: str,
    address: str,
    runtime: Runtime,
    clock: Clock,
    timeout: float | None,
) -> tuple[bool, str]:
    """(succeeded, what to tell about a failure) of an ``exec``, ``httpGet``, ``tcpSocket`` or ``sleep``
    action. ``grpc`` always fails, with a message that says so."""
    if command := (action.get("exec") or {}).get("command"):
        return await _exec(command, container_id, runtime, clock, timeout)
    try:
        async with clock.timeout(timeout):
            if seconds := (action.get("sleep") or {}).get("seconds"):
                await clock.sleep(float(seconds))
                return True, ""
            if (request := action.get("httpGet")) is not None:
                return await _http(request, container, address)
            if (target := action.get("tcpSocket")) is not None:
                return await _tcp(target, container, address)
            if "grpc" in action:
                return False, "grpc probes are not supported by this node: use exec, httpGet or tcpSocket"
    except TimeoutError:
        return False, f"timed out after {timeout or 0:g}s"
    return True, ""


async def _exec(
    command: Sequence[str], container_id: str, runtime: Runtime, clock: Clock, timeout: float | None
) -> tuple[bool, str]:
    try:
        execution = await runtime.exec(container_id, command, stdin=False, tty=False)
    except RuntimeRefusal as refusal:
        return False, refusal.message
    said = b""
    try:
        async with clock.timeout(timeout):
            async for _stream, data in execution.output():
                said = (said + data)[:_OUTPUT]
            code = await execution.wait()
    except TimeoutError:
        return False, f'command timed out: "{" ".join(command)}" timed out after {timeout or 0:g}s'
    finally:
        await execution.close()
    text = said.decode(errors="replace").strip()
    return code == 0, text or f"command {' '.join(command)!r} exited with {code}"


async def _http(request: Mapping[str, Any], container: Mapping[str, Any], address: str) -> tuple[bool, str]:
    scheme = request.get("scheme", "HTTP").lower()
    host = request.get("host") or address
    path = request.get("path") or "/"
    headers = [(header["name"], header["value"]) for header in request.get("httpHeaders") or ()]
    try:
        port = httpget.named_port(container, request["port"])
    except ValueError as error:
        return False, str(error)
    url = f"{scheme}://{host}:{port}{path}"
    try:
        status, _body = await httpget.get(scheme, host, port, path, headers)
    except OSError as error:
        return False, f'Get "{url}": dial tcp {host}:{port}: {_reason(error)}'
    except ValueError as error:
        return False, f'Get "{url}": {error}'
    return 200 <= status < 400, f"HTTP probe failed with statuscode: {status}"


async def _tcp(target: Mapping[str, Any], container: Mapping[str, Any], address: str) -> tuple[bool, str]:
    host = target.get("host") or address
    try:
        port = httpget.named_port(container, target["port"])
    except ValueError as error:
        return False, str(error)
    try:
        _reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return False, f"dial tcp {host}:{port}: {_reason(error)}"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True, ""


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    return f"connect: {error.strerror or error}".lower()
