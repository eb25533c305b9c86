"""``Cluster``: a whole cluster with a plain, synchronous face, for tests and for trying things out."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from kubernel.client.naming import parse_resource
from kubernel.clock import VirtualClock
from kubernel.errors import ApiError, NotFound
from kubernel.kernel import Kernel
from kubernel.plugin.catalogue import Catalogue, default_cache_path
from kubernel.registry.conversion import to_storage
from kubernel.store import Feed, Key, Snapshot, Write
from kubernel.store.encoding import encode
from kubernel.testing.driving import Driver, RealDriver, VirtualDriver, seconds
from kubernel.testing.faults import Faults

if TYPE_CHECKING:
    from kubernel.client.interface import Client, PatchType, Propagation
    from kubernel.config import Configuration
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["Cluster", "ClusterClock"]

T = TypeVar("T")

_MANAGER = "kubernel-testing"
_MASTERS = ("system:masters",)

_IN_PROCESS: Mapping[str, Any] = {
    "store": "memory",
    "auth": [],
    "audit": [],
    "api": [],
    "network": None,
    "runtime": None,
    "node": ["simulated"],
    "proxy": None,
}
_SERVED: Mapping[str, Any] = {
    "store": "memory",
    "network": None,
    "runtime": None,
    "node": ["simulated"],
    "proxy": None,
}


class _TestedKernel(Kernel):
    """Puts the faults' seams in, and what the store holds from the beginning, before the first plugin starts."""

    faults: Faults
    contents: Sequence[Obj] = ()
    served_later: Mapping[tuple[str, str], str] = MappingProxyType({})

    def _build(self) -> None:
        super()._build()
        self.faults.install()
        if self.contents:
            store: Any = next(unit.plugin for unit in self._units.values() if unit.state.role == "store")
            _fill(store.driver.backend, self._writes())

    def _writes(self) -> list[Write]:
        """ValueError for an object of a kind that this cluster does not have."""
        found = []
        for obj in self.contents:
            group, _, version = obj.get("apiVersion", "").rpartition("/")
            kind = obj.get("kind", "")
            type = self.registry.by_kind(group, version, kind)
            # What is served only once the store was read is stored as it comes.
            resource = type.resource if type is not None else self.served_later.get((group, kind))
            if resource is None:
                raise ValueError(f"contents: no kind {kind} in {obj.get('apiVersion', '')}")
            key = Key(resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            _, _, value = encode(to_storage(type, obj) if type is not None else obj)
            found.append(Write(key, value, 0))
        return found


def _fill(backend: Any, writes: Sequence[Write]) -> None:
    """Let the backend hold this when it is opened for the first time."""
    opened = backend.open

    async def open(feed: Feed) -> Snapshot:
        backend.open = opened
        await opened(lambda changes: None)
        for write in writes:
            await backend.commit(write)
        await backend.close()
        snapshot: Snapshot = await opened(feed)
        return snapshot

    backend.open = open


class ClusterClock:
    """The cluster's time. It stands still between ``advance`` calls, except in a real-time cluster."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        return self._driver.clock.time()

    def advance(self, duration: float | str) -> None:
        """Let ``duration`` pass (seconds, or "90s", "1h30m"); everything due happens in its order."""
        self._driver.advance(seconds(duration))


class Cluster:
    """A running cluster; stop it with ``stop`` or use it in a ``with`` statement.

    ``config`` is what the configuration file would say, over the test kit's defaults: memory store,
    built-in types, all controllers, the scheduler, admission, a simulated node, nobody to authorize, no
    sockets. With ``real_time`` the machine's clock counts; else the clock begins at ``start`` (seconds since the
    epoch). ``https`` serves the API on a free port of 127.0.0.1 in real time; ``kubeconfig`` is then a file for
    kubectl. ``data_dir`` is kept afterwards when it is given. ``contents`` is what the store holds before
    anything starts, as it stands, with uid, owners and status: a fork of another cluster. ``served_later`` gives by
    (group, kind) the ``ResourceType.resource`` of those objects whose types others of the ``contents`` define; they
    have to be in the version that is stored. Objects read are
    the stored ones: they raise when they are changed (``freeze``). ``seed`` makes every random choice
    repeatable.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | Configuration | None = None,
        *,
        real_time: bool = False,
        https: bool = False,
        data_dir: str | Path | None = None,
        contents: Sequence[Obj] = (),
        served_later: Mapping[tuple[str, str], str] = MappingProxyType({}),
        start: float | None = None,
        seed: int = 0,
        freeze: bool = True,
        catalogue: Catalogue | None = None,
    ) -> None:
        self._temporary = None if data_dir else Path(tempfile.mkdtemp(prefix="kubernel-test-"))
        self.data_dir = Path(data_dir) if data_dir else self._temporary or Path()
        self._driver: Driver = RealDriver() if real_time or https else _virtual(start)
        self.clock = ClusterClock(self._driver)
        self._https = https
        try:
            configuration = _configuration(config, self.data_dir, https)
            self._in_memory = configuration.enabled("store", "memory")
            self.kernel = _TestedKernel(
                configuration,
                clock=self._driver.clock,
                rng_seed=seed,
                freeze=freeze,
                catalogue=catalogue or Catalogue(default_cache_path()),
            )
            self.kernel.contents, self.kernel.served_later = contents, served_later
            self.faults = self.kernel.faults = Faults(self.kernel, self._driver)
            if isinstance(self._driver, VirtualDriver):
                self._driver.busy = self._is_waiting_for_disk
            self._moving = True
            self._driver.run(self.kernel.start())
            self._moving = False
        except BaseException:
            self._driver.close()
            self._remove()
            raise
        self._client = self.kernel.client("kubernetes-admin", _MASTERS)
        self._stopped = False
        self.settle()

    def stop(self) -> None:
        """Stop everything; may be called more than once. Raises what plugins failed to release."""
        if self._stopped:
            return
        self._stopped = self._moving = True
        try:
            self._driver.run(self.kernel.stop())
        finally:
            self._driver.close()
            self._remove()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _is_waiting_for_disk(self) -> bool:
        """A store with a thread of its own is at work: time must not pass meanwhile."""
        if self._in_memory:
            return False
        return self._moving or self.faults.writing > 0

    def _remove(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    # --- objects

    def apply(self, manifest: str | Path | Obj | Sequence[Obj], namespace: str = "default") -> list[Obj]:
        """Apply (server-side, taking over conflicts) a file, YAML text, an object or several, in order;
        objects without a namespace go to ``namespace``."""
        return [self._apply(obj, namespace) for obj in _documents(manifest)]

    def _apply(self, obj: Obj, namespace: str) -> Obj:
        type = self._type_of(obj)
        metadata = obj.get("metadata") or {}
        where = self._namespace(type, metadata.get("namespace") or namespace)
        if not metadata.get("name"):
            return self.create(obj, namespace=namespace)
        if where and not metadata.get("namespace"):
            obj = {**obj, "metadata": {**metadata, "namespace": where}}
        work = self._client.patch(
            _resource(type),
            metadata["name"],
            obj,
            where,
            type="apply",
            field_manager=_MANAGER,
            force=True,
        )
        return self._write(work)

    def create(self, obj: Obj, *, namespace: str = "default") -> Obj:
        """Create one object; its type is what its apiVersion and kind say."""
        type = self._type_of(obj)
        metadata = obj.get("metadata") or {}
        where = self._namespace(type, metadata.get("namespace") or namespace)
        return self._write(self._client.create(_resource(type), obj, where))

    def get(self, resource: str, name: str, namespace: str = "default") -> Obj:
        """``resource`` as everywhere (``deployments.v1.apps``) or as kubectl knows it (``deploy``).
        Raises NotFound."""
        type = self._type(resource)
        return self.run(self._client.get(_resource(type), name, self._namespace(type, namespace)))

    def find(self, resource: str, name: str, namespace: str = "default") -> Obj | None:
        """As ``get``, None when there is no such object."""
        try:
            return self.get(resource, name, namespace)
        except NotFound:
            return None

    def list(
        self, resource: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Sequence[Obj]:
        """``namespace`` empty is all namespaces."""
        type = self._type(resource)
        where = self._namespace(type, namespace)
        return self.run(self._client.list(_resource(type), where, labels=labels, fields=fields)).items

    def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        namespace: str = "default",
        *,
        type: PatchType = "merge",
        subresource: str = "",
    ) -> Obj:
        kind = self._type(resource)
        where = self._namespace(kind, namespace)
        work = self._client.patch(
            _resource(kind), name, patch, where, type=type, subresource=subresource, field_manager=_MANAGER
        )
        return self._write(work)

    def update(self, obj: Obj, *, subresource: str = "") -> Obj:
        """Replace an object by a changed copy of it."""
        return self._write(self._client.update(_resource(self._type_of(obj)), obj, subresource=subresource))

    def delete(
        self,
        resource: str,
        name: str,
        namespace: str = "default",
        *,
        grace_period: int | None = None,
        propagation: Propagation | None = None,
    ) -> Obj:
        """Ask for deletion; ``wait`` with ``find`` for the end of it."""
        type = self._type(resource)
        where = self._namespace(type, namespace)
        work = self._client.delete(
            _resource(type), name, where, grace_period=grace_period, propagation=propagation
        )
        return self._write(work)

    def _write(self, work: Coroutine[Any, Any, Obj]) -> Obj:
        try:
            return self.run(work)
        finally:
            self.settle()

    # --- time and work

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine on the cluster's loop. In virtual time the clock moves on by itself, to
        the next thing due, only when the coroutine waits and nothing else can happen."""
        return self._driver.run(work)

    def settle(self) -> None:
        """Let everything happen that can happen now, without time passing."""
        self._driver.settle()

    def wait(self, condition: Callable[[], T], timeout: float | str = 60) -> T:
        """Let time pass until ``condition()`` is true, and return it; refusals (NotFound …) count as not yet.
        AssertionError after ``timeout`` of the cluster's time."""
        limit = self.clock.time() + seconds(timeout)
        while True:
            self.settle()
            refusal: ApiError | None = None
            try:
                if result := condition():
                    return result
            except ApiError as error:
                refusal = error
            if not self._driver.step(limit - self.clock.time()):
                told = f": {refusal}" if refusal else ""
                raise AssertionError(f"not so after {timeout} of the cluster's time{told}")

    def wait_ready(
        self, resource: str, name: str, namespace: str = "default", timeout: float | str = 60
    ) -> Obj:
        """Wait for the condition ``Ready`` (or ``Available``, ``Complete``) of an object."""

        def ready() -> Obj | None:
            obj = self.get(resource, name, namespace)
            for condition in (obj.get("status") or {}).get("conditions") or ():
                if condition["type"] in ("Ready", "Available", "Complete") and condition["status"] == "True":
                    return obj
            return None

        found = self.wait(ready, timeout)
        assert found is not None  # noqa: S101 - wait returns only what is true
        return found

    # --- other ways in

    def client(self, user: str = "kubernetes-admin", groups: Sequence[str] | None = None) -> Client:
        """The cluster as ``user`` sees it, for coroutines given to ``run``. Without ``groups`` the
        administrator is a master and others have those of their name."""
        if groups is None:
            groups = _MASTERS if user == "kubernetes-admin" else ()
        return self.kernel.client(user, groups)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig of a cluster with ``https=True``."""
        if not self._https:
            raise RuntimeError("this cluster has no sockets: start it with https=True")
        return self.data_dir / "kubeconfig"

    def https(self) -> Path:
        """As ``kubeconfig``."""
        return self.kubeconfig

    # --- names

    def _type(self, resource: str) -> ResourceType:
        registry = self.kernel.registry
        plural, version, group = parse_resource(resource)
        found = registry.lookup(group, version, plural)
        if found is not None:
            return found
        wanted = resource.lower()
        for type in registry.types():
            if wanted in (type.plural, type.qualified, type.singular, *type.short_names):
                return registry.preferred(type.group, type.plural) or type
        raise NotFound.for_path()

    def _type_of(self, obj: Obj) -> ResourceType:
        group, _, version = obj.get("apiVersion", "").rpartition("/")
        type = self.kernel.registry.by_kind(group, version, obj.get("kind", ""))
        if type is None:
            raise NotFound(
                f'no matches for kind "{obj.get("kind", "")}" in version "{obj.get("apiVersion", "")}"'
            )
        return type

    def _namespace(self, type: ResourceType, namespace: str) -> str:
        return namespace if type.namespaced else ""


def _virtual(start: float | None) -> VirtualDriver:
    return VirtualDriver(None if start is None else VirtualClock(start))


def _resource(type: ResourceType) -> str:
    return f"{type.plural}.{type.version}.{type.group}" if type.group else f"{type.plural}.{type.version}"


def _documents(manifest: str | Path | Obj | Sequence[Obj]) -> Sequence[Obj]:
    """Objects from whatever was given; Lists are their items."""
    if isinstance(manifest, Mapping):
        loaded: Sequence[Any] = [manifest]
    elif isinstance(manifest, str | Path):
        import yaml

        is_text = isinstance(manifest, str) and "\n" in manifest
        text = str(manifest) if is_text else Path(manifest).read_text()
        loaded = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    else:
        loaded = manifest
    found: list[Obj] = []
    for obj in loaded:
        if not obj:
            continue
        if isinstance(obj, Mapping) and obj.get("kind") == "List":
            found += obj.get("items") or ()
        else:
            found.append(obj)
    return found


def _configuration(
    config: Mapping[str, Any] | Configuration | None, data_dir: Path, https: bool
) -> Configuration:
    from kubernel.config import Configuration, parse

    if isinstance(config, Configuration):
        return config.with_cluster(data_dir=data_dir)
    document: dict[str, Any] = copy.copy(dict(config or {}))
    plugins = _SERVED if https else _IN_PROCESS
    document["plugins"] = {**plugins, **(document.get("plugins") or {})}
    cluster = {"dataDir": str(data_dir), "nodeName": "node-1", **(document.get("cluster") or {})}
    if https:
        cluster.setdefault("port", 0)
    document["cluster"] = cluster
    return parse(document, "<test>")
