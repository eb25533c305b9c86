"""What a plugin is, and the driver contracts.

A plugin is a class found through an entry point of its role's group; the entry point's name is its
name in the configuration. It is constructed without side effects from its checked settings and a
``Handle``, then started, and stopped in reverse order; ``stop`` is called even when ``start``
failed half-way. Anything a plugin implements of ``kubernel.plugin.hookspecs`` (methods marked with
``kubernel.plugin.hookimpl``) is registered with pluggy before any plugin starts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import asyncio
    import random
    from pathlib import Path

    from kubernel.client import Client
    from kubernel.clock import Clock
    from kubernel.plugin.lifecycle import PluginState
    from kubernel.plugin.manager import Hooks
    from kubernel.registry.registry import Registry
    from kubernel.store.records import Obj

__all__ = [
    "ROLES",
    "CertificateAuthority",
    "Execution",
    "Handle",
    "KeyPair",
    "NoSettings",
    "NodeStreams",
    "NodeUsage",
    "Plugin",
    "PodNetwork",
    "Runtime",
]

ROLES: Mapping[str, str] = {
    "store": "driver",  # where objects are kept
    "types": "plugins",  # register resource types
    "auth": "plugins",  # authenticate, authorize, issue
    "admission": "plugins",
    "audit": "plugins",  # keep audit events
    "api": "plugins",  # serve the registry to the outside
    "controller": "plugins",
    "scheduler_policy": "plugins",
    "scheduler": "plugins",
    "network": "driver",  # gives pods their addresses
    "runtime": "driver",  # runs containers
    "node": "plugins",
    "proxy": "driver",
    "cli": "plugins",
}
"""Every role, in the order in which its plugins start; the entry-point group is
``kubernel.<role>``. A driver role has exactly one plugin or none."""


@dataclass(frozen=True, slots=True)
class NoSettings:
    """For plugins without settings."""


class Handle(Protocol):
    """What a plugin may reach.

    ``registry`` is for plugins that register types or serve the API; everything else uses
    ``client``, as the named user, with the rights RBAC gives it (``system:kube-scheduler``,
    ``system:serviceaccount:kube-system:deployment-controller``, …).
    """

    @property
    def role(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def rng(self) -> random.Random: ...
    @property
    def log(self) -> Any:
        """A loguru logger bound to this plugin."""
        ...

    @property
    def hooks(self) -> Hooks: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def data_dir(self) -> Path:
        """The cluster's data directory (0700). A plugin keeps its files below it, in a folder of its own."""
        ...

    @property
    def cluster(self) -> Any:
        """``kubernel.config.ClusterSettings``: name, bind address, CIDRs, DNS domain, ready-made."""
        ...

    def client(self, user: str, groups: Sequence[str] = ()) -> Client: ...

    def driver(self, role: str) -> Any:
        """The one started plugin of a driver role; PluginError when there is none."""
        ...

    def plugins(self) -> Sequence[PluginState]:
        """Every configured plugin's state, in start order: what /readyz tells."""
        ...

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run a task of this plugin: cancelled and awaited after ``stop``; if it fails the
        failure is reported as the plugin's state, in /readyz and the log, and nothing else falls."""
        ...


class Plugin:
    """Base class of every plugin."""

    Settings: ClassVar[type[Any]] = NoSettings
    """A frozen dataclass: the plugin's section of the configuration, types checked strictly."""

    def __init__(self, settings: Any, handle: Handle) -> None:
        self.settings = settings
        self.handle = handle

    async def start(self) -> None:
        """Begin work; return when ready. Long work goes to ``handle.spawn``. May be called again after
        ``stop``: what failed to start is tried again."""

    async def stop(self) -> None:
        """Release everything. Called also when ``start`` failed; tolerates having nothing to release."""


# --- contracts between plugins ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyPair:
    """PEM bytes."""

    certificate: bytes
    key: bytes


class CertificateAuthority(Protocol):
    """Answer of the hook ``kubernel_certificate_authority``."""

    @property
    def ca_certificate(self) -> bytes:
        """PEM of the cluster's CA."""
        ...

    def issue(
        self,
        common_name: str,
        *,
        organizations: Sequence[str] = (),
        names: Sequence[str] = (),
        usage: str = "client",
        days: int = 365,
    ) -> KeyPair:
        """A new EC P-256 key and its certificate. ``names`` are DNS names and IP addresses,
        ``usage`` is ``client`` or ``server``."""
        ...

    def sign(self, request: bytes, usages: Sequence[str], seconds: int) -> bytes:
        """PEM of a certificate for a PKCS#10 request (PEM): its key, its subject and its alternative names, for
        ``usages`` as certificates.k8s.io names them (``client auth``, ``digital signature``)."""
        ...


class PodNetwork(Protocol):
    """Driver of role ``network``: where pods live in address space."""

    async def attach(self, pod: Obj) -> Sequence[str]:
        """Addresses for the pod (the first is podIP). The same pod uid gets the same answer."""
        ...

    async def detach(self, pod_uid: str) -> None:
        """Take the addresses back; unknown uids are ignored."""
        ...

    def host_addresses(self) -> Sequence[str]:
        """The node's InternalIP addresses."""
        ...


class Execution(Protocol):
    """A process started by ``exec`` or ``attach``: its streams."""

    async def write(self, data: bytes) -> None:
        """To its stdin."""
        ...

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, stdout chunk) and (2, stderr chunk) until it ends."""
        ...

    async def wait(self) -> int:
        """Exit code, 128+n for signal n."""
        ...

    async def close(self) -> None:
        """Kill it (exec) or let go of it (attach)."""
        ...


class NodeStreams(Protocol):
    """Answer of the hook ``kubernel_node_streams``: how the API server reaches a node's containers.

    All raise ApiError subclasses (BadRequest ``container "x" in pod "y" is waiting to start: …``, NotFound).
    """

    def logs(self, pod: Obj, container: str, options: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Log text; ``options`` are the query parameters of ``pods/log`` (follow, tailLines,
        limitBytes, sinceSeconds, sinceTime, timestamps, previous), validated by the API server."""
        ...

    async def exec(
        self, pod: Obj, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Execution: ...

    async def attach(self, pod: Obj, container: str, *, stdin: bool, tty: bool) -> Execution: ...

    async def dial(self, pod: Obj, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a port of the pod: port-forward and proxy."""
        ...


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """What a node and its pods consume: CPU seconds used so far, and bytes of memory in use.

    ``pods`` is pod uid -> container name -> (CPU seconds, bytes). A container whose CPU seconds went down was
    restarted.
    """

    node: str
    cpu: float
    memory: int
    pods: Mapping[str, Mapping[str, tuple[float, int]]]


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a runtime is asked to run; the kubelet has resolved everything.

    ``mounts`` are (host path, container path, read-only). ``log_path`` is the CRI log file the runtime
    writes. ``attempt`` counts restarts.
    """

    pod_uid: str
    pod_name: str
    pod_namespace: str
    name: str
    attempt: int
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    working_dir: str
    mounts: tuple[tuple[str, str, bool], ...]
    log_path: str
    tty: bool
    stdin: bool
    spec: Mapping[str, Any]
    """The container's own JSON from the pod, for what this table does not name."""
    pod: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What a runtime knows of a container. Times are epoch seconds, 0 when not yet."""

    id: str
    pod_uid: str
    name: str
    attempt: int
    phase: str
    """``created``, ``running`` or ``exited``."""
    image: str
    image_id: str
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""


class RuntimeRefusal(Exception):
    """The container cannot be started as asked; ``reason`` and message go to ``state.waiting``
    (``CreateContainerConfigError``, ``ErrImagePull``, ``RunContainerError`` …)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Runtime(Protocol):
    """Driver of role ``runtime``: runs containers for the kubelet.

    ``on_change`` is set by the kubelet: called on the loop with a pod uid whenever one of its containers
    changed state, so that nobody polls.
    """

    on_change: Any

    @property
    def version(self) -> str:
        """``name://version`` as in ``node.status.nodeInfo.containerRuntimeVersion``."""
        ...

    async def create_pod(self, pod: Obj, directory: Path) -> None:
        """Prepare the pod's sandbox; idempotent. ``directory`` is the pod's own."""
        ...

    async def remove_pod(self, pod_uid: str) -> None:
        """Kill what is left of the pod and remove its sandbox; idempotent."""
        ...

    async def start_container(self, container: ContainerSpec) -> ContainerState:
        """Create and start; RuntimeRefusal when that cannot be. ``reason`` and ``message`` of a running
        container are a note for the user: the kubelet makes them a Warning event of the pod."""
        ...

    async def stop_container(self, container_id: str, grace: float) -> None:
        """SIGTERM (or the stop signal), SIGKILL after ``grace`` seconds; returns once it is dead."""
        ...

    async def remove_container(self, container_id: str) -> None:
        """Forget an exited container."""
        ...

    async def list_containers(self, pod_uid: str = "") -> list[ContainerState]:
        """The containers of one pod, or all; also those that a previous run of the node left: adoption
        after restart."""
        ...

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Execution:
        """RuntimeRefusal when the container does not run or the command cannot be executed."""
        ...

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Execution: ...

    async def probe(
        self, container_id: str, pod: Obj, probe: Mapping[str, Any], timeout: float
    ) -> bool | None:
        """Answer a probe in the runtime's stead (simulated containers); None: the kubelet does it."""
        ...

    def usage(self) -> Mapping[str, Mapping[str, tuple[float, int]]]:
        """Of all running containers: pod uid -> container name -> (CPU seconds used so far, resident bytes)."""
        ...
