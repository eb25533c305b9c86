"""``kubernel up``: run a cluster in the foreground, or in the background with ``--detach``."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from kubernel.cli import options
from kubernel.collector import SWEEP_INTERVAL, CollectorPolicy
from kubernel.errors import ConfigError, KubernelError

if TYPE_CHECKING:
    import asyncio

    from kubernel.cli.daemon import LogFile
    from kubernel.config import Configuration
    from kubernel.kernel import Kernel

__all__ = ["up"]

TURN = 0.0005
"""Seconds after which a thread that computes lets the event loop go on, which takes as long again after every wait of
its own; Python's five milliseconds are for programs of which no thread waits for a client."""
DESCRIPTORS = 65536
"""Files and connections that the process may have open, where the machine's own limit is not lower."""


def up(args: argparse.Namespace) -> int:
    from kubernel.plugin.logs import LEVELS

    if args.log_level.upper() not in LEVELS:
        raise ConfigError(f'"{args.log_level}" is not a log level: {", ".join(LEVELS).lower()}')
    config = options.configuration(args)
    if args.detach:
        from kubernel.cli.daemon import detach

        return detach(config, lambda report, log: _serve(config, args, report, log))
    return _serve(config, args, None, sys.stderr)


def _serve(
    config: Configuration, args: argparse.Namespace, report: TextIO | None, log: TextIO | LogFile
) -> int:
    """Run until told to stop. ``report`` gets one line of JSON once the cluster is ready or has failed."""
    policy = CollectorPolicy()
    policy.loading()
    sys.setswitchinterval(TURN)
    _allow_descriptors()
    import asyncio
    import traceback

    from kubernel.kernel import Kernel
    from kubernel.plugin.catalogue import Catalogue, default_cache_path
    from kubernel.plugin.logs import Logs

    kernel = Kernel(
        config,
        catalogue=Catalogue(default_cache_path()),
        logs=Logs(args.log_level, lambda: _configure_log(log, args.log_level)),
    )
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run(kernel, policy, args, report))
    except KubernelError as error:
        refusal = _explained(config, error)
        if error.__cause__ is not None and not isinstance(error.__cause__, (KubernelError, OSError)):
            # Not a refusal but a bug of a plugin: whoever looks for it needs the traceback.
            traceback.print_exception(error.__cause__)
        if report is not None:
            _tell(report, {"error": str(refusal)})
        raise refusal from error
    finally:
        policy.restore()


async def _run(
    kernel: Kernel, policy: CollectorPolicy, args: argparse.Namespace, report: TextIO | None
) -> int:
    import asyncio

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _stopper(stop, report is None))
    start = loop.create_task(kernel.start())
    stopped = loop.create_task(stop.wait())
    await asyncio.wait({start, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        return 130
    if start.exception() is not None:
        stopped.cancel()
        start.result()
    policy.loaded()
    timings = _timings(kernel) if args.timings else ""
    text = usage(kernel.config, kernel.url, _troubles(kernel))
    if report is not None:
        _tell(report, {"pid": os.getpid(), "usage": text, "timings": timings})
    else:
        print("\n".join(part for part in (text, timings) if part), flush=True)
    sweeper = loop.create_task(_sweep(kernel, policy))
    await stopped
    sweeper.cancel()
    await asyncio.gather(sweeper, return_exceptions=True)
    await kernel.stop()
    return 0


def _stopper(stop: asyncio.Event, foreground: bool) -> Callable[[], None]:
    """A signal's handler: the first one stops in an orderly way, a second one at once."""

    def handle() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()
        if foreground:
            print("\nstopping (again to stop at once)", file=sys.stderr, flush=True)

    return handle


async def _sweep(kernel: Kernel, policy: CollectorPolicy) -> None:
    while True:
        await kernel.clock.sleep(SWEEP_INTERVAL)
        policy.sweep()


def usage(config: Configuration, url: str, troubles: list[str]) -> str:
    """What to do with a cluster that runs."""
    directory = config.cluster.data_dir
    lines = [
        f'The cluster "{config.cluster.name}" runs at {url or "no address"}, its state is in {directory}'
    ]
    lines += [f"warning: {trouble}" for trouble in troubles]
    lines += [
        "",
        f"  export KUBECONFIG={directory / 'kubeconfig'}",
        "  kubectl get nodes",
        "  kubectl create deployment hello --image=hello --replicas=3 -- sleep 1000000",
        "  kubectl get pods",
        "",
    ]
    return "\n".join(lines)


def _troubles(kernel: Kernel) -> list[str]:
    return [f"plugin {state.label}: {state.error}" for state in kernel.plugins if state.phase == "failed"]


def _explained(config: Configuration, error: KubernelError) -> KubernelError:
    """The refusal with what to do about a port that cannot be had."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (
            errno.EADDRINUSE,
            errno.EACCES,
            errno.EADDRNOTAVAIL,
        ):
            where = f"{config.cluster.bind_address}:{config.cluster.port}"
            why = {
                errno.EADDRINUSE: f"port {config.cluster.port} is taken: another program listens on {where}",
                errno.EACCES: f"{where} may only be used by root",
                errno.EADDRNOTAVAIL: f"{config.cluster.bind_address} is not an address of this machine",
            }[cause.errno]
            return KubernelError(
                f"{why}; choose another with --port (0 takes a free one) or in the configuration"
            )
        cause = cause.__cause__ or cause.__context__
    return error


def _tell(report: TextIO, message: dict[str, object]) -> None:
    print(json.dumps(message), file=report, flush=True)
    report.close()


def _allow_descriptors() -> None:
    """Each watch is a connection: the limit of open files that is set for old programs would be one of watches."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _configure_log(log: TextIO | LogFile, level: str) -> None:
    from loguru import logger

    logger.remove()
    logger.add(
        log,
        level=level.upper(),
        format="{time:YYYY-MM-DDTHH:mm:ss.SSSZ} {level: <7} {extra[plugin]} {message}",
        backtrace=False,
        diagnose=False,
    )


def _timings(kernel: Kernel) -> str:
    """The budget by phase. What a plugin's start took is listed when it was at least a millisecond."""
    rows = [("process start and command line", _before(kernel))]
    rows += [(name, spent) for name, spent in kernel.timings.items() if name != "start"]
    lines = [f"{spent:8.1f} ms  {name}" for name, spent in rows if spent >= 1.0 or "/" not in name]
    total = rows[0][1] + kernel.timings["start"]
    return "\n".join([*lines, f"{total:8.1f} ms  in all"])


def _before(kernel: Kernel) -> float:
    """Milliseconds of this process before the kernel's start; from the kernel, in steps of 10 ms."""
    import time

    try:
        with open("/proc/self/stat") as file:
            born = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
    alive = time.clock_gettime(time.CLOCK_BOOTTIME) - born
    return max(alive * 1000 - kernel.timings["start"], 0.0)
