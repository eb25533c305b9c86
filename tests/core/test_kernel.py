"""A whole cluster from a configuration, with plugins of strangers only."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from kubernel.clock import VirtualClock
from kubernel.config import DEFAULT_PLUGINS, Configuration, parse
from kubernel.datadir import DataDirError, running_pid
from kubernel.errors import ConfigError, Forbidden, NotFound, PluginError
from kubernel.kernel import Kernel
from kubernel.plugin.logs import Logs

PLUGIN = '''
    from dataclasses import dataclass
    from kubernel.plugin import Plugin, hookimpl
    from kubernel.registry.attributes import Decision
    from kubernel.registry.schema import Node
    from kubernel.registry.types import ResourceType, Subresource

    DIARY = []

    @dataclass(frozen=True)
    class Options:
        greeting: str = "Hello"
        fail: bool = False

    class Worker(Plugin):
        Settings = Options

        async def start(self):
            DIARY.append(f"start {self.handle.role}/{self.handle.name} {self.settings.greeting}")
            if self.settings.fail:
                raise RuntimeError("as asked")

        async def stop(self):
            DIARY.append(f"stop {self.handle.role}/{self.handle.name}")

    class Types(Plugin):
        @hookimpl
        def kubernel_register_types(self, registry):
            DIARY.append("types")
            registry.register(ResourceType("acme.dev", "v1", "Gadget", "gadgets", lambda: Node("any")))

    class Only(Plugin):
        """Lets one user do everything."""
        @hookimpl
        def kubernel_authorize(self, attributes):
            return Decision(attributes.user.name == "jane", "not jane", final=False)

    class Moody(Plugin):
        @hookimpl
        def kubernel_metrics(self):
            raise RuntimeError("not now")

    class Broken(Plugin):
        def __init__(self, settings, handle):
            raise RuntimeError("cannot be made")

    class Shared(Plugin):
        """Needs the runtime."""
        async def start(self):
            DIARY.append(self.handle.driver("runtime").handle.name)
'''


@pytest.fixture
def acme(distribution: Any, memory_store: str) -> Any:
    """The stranger's module."""
    points = {
        "kubernel.types": {"gadgets": "acme:Types"},
        "kubernel.controller": {
            "one": "acme:Worker",
            "two": "acme:Worker",
            "broken": "acme:Broken",
            "moody": "acme:Moody",
        },
        "kubernel.runtime": {"engine": "acme:Worker"},
        "kubernel.node": {"agent": "acme:Shared"},
        "kubernel.auth": {"only": "acme:Only"},
        "kubernel.api": {"door": "acme:Worker"},
    }
    distribution("acme", points, acme=PLUGIN)
    import acme  # type: ignore[import-not-found]

    return acme


@pytest.fixture
def configured(memory_store: str, tmp_path: Path) -> Any:
    def make(**plugins: Any) -> Configuration:
        nothing: dict[str, Any] = dict.fromkeys(DEFAULT_PLUGINS)
        cluster = {"dataDir": str(tmp_path / "data"), "nodeName": "n"}
        return parse({"cluster": cluster, "plugins": {**nothing, "store": memory_store, **plugins}})

    return make


def living(config: Configuration, life: Any, **options: Any) -> Kernel:
    """Run ``life(kernel)`` on a started cluster and stop it."""
    kernel = Kernel(config, clock=options.pop("clock", None) or VirtualClock(), **options)

    async def run() -> None:
        await kernel.start()
        try:
            await life(kernel)
        finally:
            await kernel.stop()

    asyncio.run(run())
    return kernel


async def nothing(kernel: Kernel) -> None:
    pass


def test_plugins_live_in_role_order_with_their_settings(acme: Any, configured: Any) -> None:
    config = configured(controller=[{"two": {"greeting": "Hi"}}, "one"], runtime="engine", types=["gadgets"])
    living(config, nothing)
    assert acme.DIARY == [
        "types",
        "start controller/two Hi",
        "start controller/one Hello",
        "start runtime/engine Hello",
        "stop runtime/engine",
        "stop controller/one",
        "stop controller/two",
    ]


def test_objects_of_a_strangers_type_can_be_written_and_read(acme: Any, configured: Any) -> None:
    async def life(kernel: Kernel) -> None:
        client = kernel.client()
        gadget = {"apiVersion": "acme.dev/v1", "kind": "Gadget", "metadata": {"name": "g"}}
        created = await client.create("gadgets.v1.acme.dev", gadget, "default")
        assert created["metadata"]["resourceVersion"] == "1"
        assert (await client.get("gadgets.v1.acme.dev", "g", "default")) == created
        with pytest.raises(NotFound):
            await client.get("gadgets.v1.acme.dev", "other", "default")

    living(configured(types=["gadgets"]), life)


def test_clients_have_the_rights_of_their_user(acme: Any, configured: Any) -> None:
    async def life(kernel: Kernel) -> None:
        assert (await kernel.client("jane").list("gadgets.v1.acme.dev")).items == []
        with pytest.raises(Forbidden, match="not jane"):
            await kernel.client("john").list("gadgets.v1.acme.dev")

    living(configured(types=["gadgets"], auth=["only"]), life)


def test_components_get_the_groups_that_authentication_would_give(acme: Any, configured: Any) -> None:
    async def life(kernel: Kernel) -> None:
        def groups(user: str) -> tuple[str, ...]:
            client: Any = kernel.client(user)
            found: tuple[str, ...] = client.user.groups
            return found

        everyone = "system:authenticated"
        accounts = ("system:serviceaccounts", "system:serviceaccounts:kube-system")
        assert groups("system:serviceaccount:kube-system:x") == (*accounts, everyone)
        assert groups("system:node:n") == ("system:nodes", everyone)
        assert "system:masters" in groups("system:apiserver")
        assert groups("jane") == (everyone,)

    living(configured(types=["gadgets"]), life)


def test_the_state_of_each_plugin_is_told(acme: Any, configured: Any, tmp_path: Path) -> None:
    async def life(kernel: Kernel) -> None:
        assert kernel.ready == {"store/test-memory": True, "controller/one": False, "controller/two": True}
        told = json.loads((tmp_path / "data" / "run" / "kubernel.json").read_text())
        assert told["pid"] == os.getpid()
        states = {plugin["name"]: (plugin["phase"], plugin["error"]) for plugin in told["plugins"]}
        assert states["one"] == ("failed", "RuntimeError: as asked")
        assert states["two"] == ("running", "")
        assert told["plugins"][1]["distribution"] == "acme"

    living(configured(controller=[{"one": {"fail": True}}, "two"]), life)


def test_an_essential_plugin_that_fails_leaves_nothing_behind(
    acme: Any, configured: Any, tmp_path: Path
) -> None:
    with pytest.raises(
        PluginError, match=r"plugin api/door \(acme 1.0\) failed to start: RuntimeError: as asked"
    ):
        living(configured(api=[{"door": {"fail": True}}]), nothing)
    assert running_pid(tmp_path / "data") is None
    living(configured(api=["door"]), nothing)


def test_a_driver_is_reached_by_its_role(acme: Any, configured: Any) -> None:
    living(configured(node=["agent"], runtime="engine"), nothing)
    assert "engine" in acme.DIARY

    async def life(kernel: Kernel) -> None:
        assert kernel.plugins[-1].error == "no plugin of role runtime is configured"

    living(configured(node=["agent"]), life)


def test_the_start_is_measured_by_phase(acme: Any, configured: Any) -> None:
    kernel = living(configured(controller=["one"]), nothing)
    assert {
        "find plugins",
        "import plugins",
        "start plugins",
        "start controller/one",
    } <= kernel.timings.keys()


@pytest.mark.parametrize(
    ("plugin", "error", "message"),
    [
        pytest.param("nosuch", PluginError, 'no plugin "nosuch" of group', id="missing plugin"),
        pytest.param("broken", PluginError, "RuntimeError: cannot be made", id="constructor"),
        pytest.param({"one": {"greting": "x"}}, ConfigError, 'did you mean "greeting"', id="settings key"),
        pytest.param({"one": {"greeting": 1}}, ConfigError, "expected text, got the number 1", id="type"),
    ],
)
def test_a_wrong_configuration_starts_nothing(
    acme: Any, configured: Any, tmp_path: Path, plugin: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        living(configured(controller=[plugin]), nothing)
    assert acme.DIARY == []
    assert running_pid(tmp_path / "data") is None


def test_the_data_directory_is_private_and_has_one_owner_at_a_time(configured: Any, tmp_path: Path) -> None:
    async def life(kernel: Kernel) -> None:
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        assert running_pid(tmp_path / "data") == os.getpid()
        with pytest.raises(DataDirError) as refusal:
            await Kernel(configured()).start()
        assert f"a cluster is already running on {tmp_path / 'data'} (pid {os.getpid()}" in str(refusal.value)

    living(configured(), life)
    assert running_pid(tmp_path / "data") is None
    assert not (tmp_path / "data" / "run" / "kubernel.json").exists()


def test_a_directory_with_other_peoples_files_is_left_alone(configured: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data" / "thesis.txt").write_text("precious")
    with pytest.raises(DataDirError, match="is not empty and not a data directory of kubernel"):
        living(configured(), nothing)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o755
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["thesis.txt"]


def test_a_data_directory_that_cannot_be_made_is_named(configured: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = configured().with_cluster(data_dir=tmp_path / "file" / "data")
    with pytest.raises(DataDirError, match=r"cannot use the data directory .*: Not a directory"):
        living(config, nothing)


def test_many_clusters_live_in_one_process(acme: Any, configured: Any, tmp_path: Path) -> None:
    async def run() -> None:
        config = configured(types=["gadgets"])
        kernels = [
            Kernel(config.with_cluster(data_dir=tmp_path / f"c{number}"), clock=VirtualClock())
            for number in range(3)
        ]
        for kernel in kernels:
            await kernel.start()
        gadget = {"apiVersion": "acme.dev/v1", "kind": "Gadget", "metadata": {"name": "g"}}
        await kernels[0].client().create("gadgets.v1.acme.dev", gadget, "default")
        assert [len((await one.client().list("gadgets.v1.acme.dev")).items) for one in kernels] == [1, 0, 0]
        for kernel in kernels:
            await kernel.stop()

    asyncio.run(run())


def test_the_random_choices_follow_from_the_seed(configured: Any) -> None:
    assert Kernel(configured(), rng_seed=7).rng.random() == Kernel(configured(), rng_seed=7).rng.random()


def test_a_hook_that_fails_is_told_and_its_plugin_goes_on(acme: Any, configured: Any) -> None:
    async def life(kernel: Kernel) -> None:
        assert kernel.hooks.metrics() == ""
        state = kernel.plugins[-1]
        assert (state.phase, state.error) == ("running", "a hook: RuntimeError: not now")

    living(configured(controller=["moody"]), life, logs=Logs("CRITICAL"))
