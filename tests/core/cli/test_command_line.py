"""The ``kubernel`` command as a user runs it: real processes, plugins of strangers only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from kubernel.config import DEFAULT_PLUGINS
from kubernel.datadir import running_pid

DOOR = '''
    import asyncio
    from kubernel.plugin import Plugin, hookimpl

    class Door(Plugin):
        """Listens, as an API server does, and says where."""
        url = ""

        async def start(self):
            cluster = self.handle.cluster
            where = (cluster.bind_address, cluster.port)
            self.server = await asyncio.start_server(lambda r, w: w.close(), *where)
            self.url = "https://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
            (self.handle.data_dir / "kubeconfig").write_text("{}")

        async def stop(self):
            if hasattr(self, "server"):
                self.server.close()

    class Bug(Plugin):
        async def start(self):
            raise ZeroDivisionError("a bug")

    class Die(Plugin):
        async def start(self):
            import os
            print("last words", flush=True)
            os._exit(9)

    class Greet(Plugin):
        @hookimpl
        def kubernel_cli(self, commands):
            parser = commands.add_parser("greet", help="say hello")
            parser.add_argument("who")
            parser.set_defaults(run=self.run)

        def run(self, args):
            print("Hello", args.who, "from", self.handle.cluster.name)
            return 4

    class Rude(Plugin):
        @hookimpl
        def kubernel_cli(self, commands):
            raise RuntimeError("no")
'''


class Shell:
    """Runs the command with a configuration file, an own home and the stranger's plugins in sight."""

    def __init__(self, home: Path, path: list[str]) -> None:
        self.home = home
        self.data = home / "data"
        self.config = home / "kubernel.yaml"
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path),
            "KUBERNEL_CONFIG": str(self.config),
        }

    def configure(self, **plugins: Any) -> None:
        document = {
            "apiVersion": "kubernel.dev/v1",
            "kind": "Configuration",
            "cluster": {"dataDir": str(self.data), "port": 0},
            "plugins": {
                **dict.fromkeys(DEFAULT_PLUGINS),
                "store": "test-memory",
                "cli": ["cluster"],
                **plugins,
            },
        }
        self.config.write_text(json.dumps(document, indent=1))

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "kubernel.cli", *words],
            env=self.environment, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "kubernel.cli", *words],
            env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture
def kubernel(distribution: Any, memory_store: str, tmp_path: Path) -> Any:
    points = {
        "kubernel.api": {"door": "acme_door:Door", "bug": "acme_door:Bug", "die": "acme_door:Die"},
        "kubernel.controller": {"bug": "acme_door:Bug"},
        "kubernel.cli": {"greet": "acme_door:Greet", "rude": "acme_door:Rude"},
    }
    distribution("acme", points, version="2.0", acme_door=DOOR)
    home = tmp_path / "home"
    home.mkdir()
    shell = Shell(home, [entry for entry in sys.path if str(tmp_path) in entry])
    shell.configure(api=["door"])
    yield shell
    shell("down")


def test_up_tells_what_to_do_and_stops_cleanly_on_ctrl_c(kubernel: Shell) -> None:
    process = kubernel.start("up", "--timings")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(6)]
    assert lines[0].startswith('The cluster "kubernel" runs at https://127.0.0.1:')
    assert f"export KUBECONFIG={kubernel.data}/kubeconfig" in lines[2]
    process.send_signal(signal.SIGINT)
    out = process.stdout.read()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    process.stderr.close()
    assert "ms  start plugins" in out
    assert "ms  in all" in out
    assert err == "\nstopping (again to stop at once)\n"
    assert not (kubernel.data / "run" / "kubernel.json").exists()


def test_a_cluster_lives_in_the_background(kubernel: Shell) -> None:
    assert kubernel("status").returncode == 3
    up = kubernel("up", "--detach")
    assert (up.returncode, up.stderr) == (0, "")
    assert "It runs in the background (pid " in up.stdout
    status = kubernel("status", "-o", "json")
    assert status.returncode == 0
    told = json.loads(status.stdout)
    assert told["running"]
    assert [plugin["phase"] for plugin in told["plugins"]] == ["running", "running"]
    down = kubernel("down")
    assert (down.returncode, down.stderr) == (0, "")
    assert running_pid(kubernel.data) is None
    assert kubernel("down").stdout == 'The cluster "kubernel" does not run\n'


def test_nothing_is_readable_by_others(kubernel: Shell) -> None:
    kubernel("up", "-d")
    assert kubernel.data.stat().st_mode & 0o777 == 0o700
    assert (kubernel.data / "logs" / "kubernel.log").stat().st_mode & 0o777 == 0o600


def test_a_long_log_is_put_aside_at_the_start(kubernel: Shell) -> None:
    log = kubernel.data / "logs" / "kubernel.log"
    kubernel("up", "-d")
    kubernel("down")
    os.truncate(log, 20_000_000)
    assert kubernel("up", "-d").returncode == 0
    assert log.with_name("kubernel.log.1").stat().st_size == 20_000_000
    assert log.stat().st_size < 10_000
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_grows_is_rotated_while_the_cluster_runs(tmp_path: Path) -> None:
    log = tmp_path / "kubernel.log"
    write = f"""
        from pathlib import Path
        from kubernel.cli.daemon import LogFile

        log = LogFile(Path({str(log)!r}), limit=100)
        log.attach()
        for number in range(6):
            log.write(f"message {{number}} {{'x' * 50}}\\n")
        print("told by somebody else", flush=True)
    """
    subprocess.run([sys.executable, "-c", dedent(write)], check=True)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {name: [line[:9] for line in text.splitlines()] for name, text in texts.items()} == {
        "kubernel.log": ["told by s"],
        "kubernel.log.1": ["message 4", "message 5"],
        "kubernel.log.2": ["message 2", "message 3"],
    }


def test_a_second_up_on_the_same_data_directory_is_refused(kubernel: Shell) -> None:
    kubernel("up", "-d")
    for words in (["up"], ["up", "--detach"]):
        second = kubernel(*words)
        assert second.returncode == 1
        assert f"a cluster is already running on {kubernel.data} (pid " in second.stderr
        assert "stop it with `kubernel down`" in second.stderr
    assert kubernel("status").returncode == 0


def test_a_taken_port_is_named(kubernel: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words in (["up"], ["up", "--detach"]):
            up = kubernel(*words, "--port", str(port))
            assert up.returncode == 1
            assert up.stderr == (
                f"kubernel: port {port} is taken: another program listens on 127.0.0.1:{port}; choose "
                "another with --port (0 takes a free one) or in the configuration\n"
            )
    assert kubernel("status").returncode == 3


def test_a_bug_in_a_plugin_comes_with_its_traceback(kubernel: Shell) -> None:
    kubernel.configure(api=["bug"])
    up = kubernel("up")
    assert up.returncode == 1
    assert "plugin api/bug (acme 2.0) failed to start: ZeroDivisionError: a bug" in up.stderr
    assert 'raise ZeroDivisionError("a bug")' in up.stderr


def test_a_daemon_that_dies_leaves_its_last_words(kubernel: Shell) -> None:
    kubernel.configure(api=["die"])
    up = kubernel("up", "--detach")
    assert up.returncode == 1
    assert "the cluster died while starting" in up.stderr
    assert "last words" in up.stderr


def test_a_plugin_that_fails_is_told_by_up_status_and_plugins(kubernel: Shell) -> None:
    kubernel.configure(api=["door"], controller=["bug"])
    assert "warning: plugin controller/bug: ZeroDivisionError: a bug" in kubernel("up", "-d").stdout
    status = kubernel("status").stdout
    assert "2 of 3 plugins run\n  controller/bug: ZeroDivisionError: a bug\n" in status
    assert "failed   ZeroDivisionError: a bug" in kubernel("plugins").stdout


def test_plugins_lists_parts_with_their_distribution(kubernel: Shell) -> None:
    table = json.loads(kubernel("plugins", "--all", "-o", "json").stdout)
    rows = {(row["role"], row["name"]): row for row in table}
    door = rows["api", "door"]
    assert (door["distribution"], door["version"], door["state"]) == ("acme", "2.0", "on")
    assert rows["api", "bug"]["state"] == "off"
    assert "bug" not in kubernel("plugins").stdout
    kubernel.configure(api=["nosuch"])
    assert "missing  is not installed" in kubernel("plugins").stdout


def test_subcommands_of_plugins_run_when_configured(kubernel: Shell) -> None:
    off = kubernel("greet", "Jo")
    assert off.returncode == 2
    assert 'the plugin "greet" of role cli is installed and off; write `cli: ["*", greet]`' in off.stderr
    kubernel.configure(cli=["cluster", "greet"])
    on = kubernel("greet", "Jo")
    assert (on.returncode, on.stdout) == (4, "Hello Jo from kubernel\n")
    assert "say hello" in kubernel("--help").stdout


def test_a_broken_command_plugin_does_not_keep_the_others_from_working(kubernel: Shell) -> None:
    kubernel.configure(cli=["cluster", "rude"])
    assert kubernel("version").returncode == 0
    help = kubernel("--help")
    assert "up " in help.stdout
    assert "plugin cli/rude failed to add its subcommands: RuntimeError: no" in help.stderr


def test_config_show_can_be_loaded_again(kubernel: Shell) -> None:
    shown = kubernel("config", "show").stdout
    kubernel.config.write_text(shown)
    assert kubernel("config", "show").stdout == shown


def test_config_check_names_file_line_and_suggestion(kubernel: Shell, tmp_path: Path) -> None:
    assert kubernel("config", "check").stdout == f"{kubernel.config}: fine, 3 plugins\n"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("apiVersion: kubernel.dev/v1\nkind: Configuration\nplugins:\n  store: test-memry\n")
    checked = kubernel("config", "check", str(wrong))
    assert checked.returncode == 1
    assert checked.stderr == (
        f'kubernel: {wrong}:4: there is no plugin "test-memry" of group kubernel.store; '
        'did you mean "test-memory"?\n'
    )


def test_reset_removes_only_a_stopped_clusters_own_directory(kubernel: Shell) -> None:
    kubernel("up", "-d")
    running = kubernel("reset", "--yes")
    assert running.returncode == 1
    assert "is running; stop it first with `kubernel down`" in running.stderr
    kubernel("down")
    (kubernel.data / "pods" / "locked").mkdir(parents=True)
    (kubernel.data / "pods" / "locked" / "file").write_text("x")
    (kubernel.data / "pods" / "link").symlink_to(kubernel.home)
    (kubernel.data / "pods" / "locked").chmod(0o500)
    assert "there is nobody to ask; say --yes" in kubernel("reset").stderr
    assert kubernel.data.exists()
    assert kubernel("reset", "--yes").stdout == f"Removed {kubernel.data}\n"
    assert not kubernel.data.exists()
    assert kubernel.config.exists()
    assert "There is nothing to remove" in kubernel("reset", "--yes").stdout


def test_reset_leaves_a_strangers_directory_alone(kubernel: Shell) -> None:
    kubernel.data.mkdir()
    (kubernel.data / "thesis.txt").write_text("precious")
    reset = kubernel("reset", "--yes")
    assert reset.returncode == 1
    assert "is not a data directory of kubernel; nothing has been removed" in reset.stderr
    assert (kubernel.data / "thesis.txt").exists()


KUBECONFIG = dedent("""
    apiVersion: v1
    kind: Config
    current-context: kubernel
    clusters: [{name: kubernel, cluster: {server: "https://127.0.0.1:1", certificate-authority-data: Q0E=}}]
    users: [{name: admin, user: {client-certificate-data: Qw==, client-key-data: Sw==}}]
    contexts: [{name: kubernel, context: {cluster: kubernel, user: admin}}]
""")


@pytest.fixture
def admin(kubernel: Shell) -> Path:
    """The kubeconfig of a cluster that has run."""
    kubernel("up", "-d")
    kubernel("down")
    path = kubernel.data / "kubeconfig"
    path.write_text(KUBECONFIG)
    return path


def test_kubeconfig_prints_what_to_export(kubernel: Shell) -> None:
    none = kubernel("kubeconfig")
    assert none.returncode == 1
    assert "there is no kubeconfig yet" in none.stderr
    kubernel("up", "-d")
    assert kubernel("kubeconfig").stdout == f"export KUBECONFIG={kubernel.data}/kubeconfig\n"
    assert kubernel("kubeconfig", "--path").stdout == f"{kubernel.data}/kubeconfig\n"


def test_kubeconfig_merges_without_touching_other_contexts(kubernel: Shell, admin: Path) -> None:
    import yaml

    target = kubernel.home / ".kube" / "config"
    target.parent.mkdir()
    work = {"name": "work", "cluster": {"server": "https://work"}}
    before = {"current-context": "work", "clusters": [work], "preferences": {"colors": True}, "users": None}
    target.write_text(yaml.safe_dump(before))
    target.chmod(0o644)
    for _ in range(2):
        merged = kubernel("kubeconfig", "--merge")
        assert merged.returncode == 0, merged.stderr
        assert "The current context is still work; kubectl config use-context kubernel" in merged.stdout
    after = yaml.safe_load(target.read_text())
    assert after["current-context"] == "work"
    assert after["preferences"] == {"colors": True}
    assert [entry["name"] for entry in after["clusters"]] == ["work", "kubernel"]
    assert after["clusters"][0] == work
    assert [entry["name"] for entry in after["users"]] == ["kubernel"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert (target.parent / "config.kubernel-backup").stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in target.parent.iterdir()) == ["config", "config.kubernel-backup"]


def test_kubeconfig_makes_a_first_file_with_itself_as_current(kubernel: Shell, admin: Path) -> None:
    assert kubernel("kubeconfig", "--merge").returncode == 0
    text = (kubernel.home / ".kube" / "config").read_text()
    assert "current-context: kubernel" in text


def test_kubeconfig_refuses_to_replace_another_cluster(kubernel: Shell, admin: Path) -> None:
    target = kubernel.home / ".kube" / "config"
    target.parent.mkdir()
    text = "clusters: [{name: kubernel, cluster: {server: https://elsewhere}}]\n"
    target.write_text(text)
    refused = kubernel("kubeconfig", "--merge")
    assert refused.returncode == 1
    assert (
        'has another cluster named "kubernel" (https://elsewhere); choose a name with --context'
        in refused.stderr
    )
    assert target.read_text() == text
    assert kubernel("kubeconfig", "--merge", "--context", "mine").returncode == 0


@pytest.mark.parametrize("text", ["[1", "just text", "clusters: {a: b}"])
def test_kubeconfig_leaves_a_damaged_file_alone(kubernel: Shell, admin: Path, text: str) -> None:
    target = kubernel.home / "broken"
    target.write_text(text)
    assert kubernel("kubeconfig", "--merge", "--into", str(target)).returncode == 1
    assert target.read_text() == text
    assert not (kubernel.home / "broken.lock").exists()


def test_kubeconfig_waits_for_nobody_who_holds_the_lock(kubernel: Shell, admin: Path) -> None:
    target = kubernel.home / "config"
    (kubernel.home / "config.lock").touch()
    refused = kubernel("kubeconfig", "--merge", "--into", str(target))
    assert "is being changed by another program" in refused.stderr
    assert not target.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["up", "--port", "x"], "invalid int value", id="port"),
        pytest.param(["up", "--log-level", "loud"], '"loud" is not a log level', id="level"),
        pytest.param(["status", "--config", "nothing.yaml"], "cannot read the file", id="no file"),
        pytest.param(["status", "--name", "A B"], 'name: "A B" must be', id="name"),
        pytest.param(["frobnicate"], "invalid choice: 'frobnicate'", id="command"),
    ],
)
def test_wrong_usage_is_told(kubernel: Shell, words: list[str], message: str) -> None:
    refused = kubernel(*words)
    assert refused.returncode in (1, 2)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_version_tells_both(kubernel: Shell) -> None:
    told = json.loads(kubernel("version", "-o", "json").stdout)
    assert told["kubernetes"].startswith("v1.37.")
