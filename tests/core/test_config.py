"""The configuration file: what is taken, and what each refusal says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from kubernel.config import (
    DEFAULT_PLUGINS,
    DRIVER_ROLES,
    ClusterSettings,
    Configuration,
    Duration,
    camel_case,
    load,
    parse,
    parse_duration,
    settings,
)
from kubernel.errors import ConfigError
from kubernel.plugin.contract import ROLES

HEADER = "apiVersion: kubernel.dev/v1\nkind: Configuration\n"


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str, header: str = HEADER) -> Path:
        path = tmp_path / "kubernel.yaml"
        path.write_text(header + text)
        return path

    return write


def names(config: Configuration, role: str) -> list[str]:
    return [choice.name for choice in config.plugins[role]]


def test_without_a_file_the_defaults_hold() -> None:
    config = load(None)
    assert config.cluster.name == "kubernel"
    assert config.cluster.port == 6443
    assert {role: tuple(names(config, role)) for role in config.plugins} == dict(DEFAULT_PLUGINS)


def test_every_role_has_a_default_in_start_order() -> None:
    assert list(DEFAULT_PLUGINS) == list(ROLES)
    assert {role for role, kind in ROLES.items() if kind == "driver"} == DRIVER_ROLES


def test_an_empty_document_with_a_header_is_the_defaults(written: Any) -> None:
    assert load(written("")).plugins.keys() == DEFAULT_PLUGINS.keys()


def test_cluster_settings_are_read(written: Any) -> None:
    cluster = load(written("cluster:\n  name: shop\n  port: 0\n  podCIDR: 10.7.0.0/16\n")).cluster
    assert (cluster.name, cluster.port, cluster.pod_cidr) == ("shop", 0, "10.7.0.0/16")
    assert cluster.data_dir.parts[-2:] == ("kubernel", "shop")


def test_a_relative_data_directory_is_relative_to_the_file(written: Any) -> None:
    path = written("cluster:\n  dataDir: state\n")
    assert load(path).cluster.data_dir == path.parent / "state"


def test_a_role_not_named_keeps_its_defaults(written: Any) -> None:
    config = load(written("plugins:\n  store: memory\n"))
    assert names(config, "store") == ["memory"]
    assert names(config, "api") == ["http", "metrics"]


def test_a_driver_can_be_switched_off(written: Any) -> None:
    assert names(load(written("plugins:\n  network: null\n")), "network") == []


def test_the_star_stands_for_the_defaults_and_minus_takes_one_out(written: Any) -> None:
    config = load(written('plugins:\n  controller: ["*", "-job", {hello: {greeting: Hi}}]\n'))
    assert "job" not in names(config, "controller")
    assert names(config, "controller")[-1] == "hello"
    assert config.plugins["controller"][-1].section.plain() == {"greeting": "Hi"}


def test_settings_for_a_default_do_not_name_it_twice(written: Any) -> None:
    config = load(written('plugins:\n  controller: ["*", {job: {workers: 2}}]\n'))
    assert names(config, "controller").count("job") == 1
    job = next(choice for choice in config.plugins["controller"] if choice.name == "job")
    assert job.section.plain() == {"workers": 2}


REFUSED = [
    pytest.param("clutser: {}\n", '3: unknown key "clutser"; did you mean "cluster"?', id="unknown key"),
    pytest.param(
        "cluster:\n  podCidr: 10.0.0.0/8\n",
        '4: cluster.podCidr: unknown setting "podCidr"; did you mean "podCIDR"?',
        id="unknown cluster setting",
    ),
    pytest.param(
        "cluster:\n  port: https\n",
        '4: cluster.port: expected a whole number, got the text "https"',
        id="wrong type",
    ),
    pytest.param(
        "cluster:\n  port: true\n", "4: cluster.port: expected a whole number", id="truth is no number"
    ),
    pytest.param(
        "cluster:\n  name: 12\n",
        "4: cluster.name: expected text, got the number 12; write it in quotes",
        id="number",
    ),
    pytest.param("cluster:\n  name: Shop\n", '4: cluster: name: "Shop" must be', id="bad name"),
    pytest.param(
        "cluster:\n  port: 70000\n", "4: cluster: port: 70000 is not between", id="port out of range"
    ),
    pytest.param("cluster:\n  podCIDR: 1.2.3\n", "4: cluster: podCIDR: ", id="bad CIDR"),
    pytest.param("cluster:\n  podCIDR: 127.96.1.0/24\n", "overlaps podCIDR", id="overlapping ranges"),
    pytest.param(
        "cluster: [1]\n", "3: cluster: expected a mapping of settings, got a list", id="not a mapping"
    ),
    pytest.param(
        "plugins:\n  controler: []\n",
        '4: plugins.controler: unknown role "controler"; did you mean "controller"?',
        id="unknown role",
    ),
    pytest.param("plugins:\n  store: null\n", "4: plugins.store: a cluster needs a store", id="no store"),
    pytest.param(
        "plugins:\n  store: {memory: {}, sqlite: {}}\n",
        "4: plugins.store: the role store takes exactly one",
        id="two",
    ),
    pytest.param(
        "plugins:\n  store: 3\n", "4: plugins.store: expected a plugin's name", id="a number for a plugin"
    ),
    pytest.param(
        "plugins:\n  api:\n  - http: fast\n",
        '5: plugins.api[0].http: expected the settings of "http"',
        id="settings",
    ),
    pytest.param(
        "plugins:\n  controller:\n  - job\n  - job\n",
        '6: plugins.controller[1].job: the plugin "job" is named twice',
        id="named twice",
    ),
    pytest.param(
        'plugins:\n  controller: ["-job"]\n', 'there is no "*" in this list', id="minus without star"
    ),
    pytest.param(
        'plugins:\n  controller: ["*", "-jobs"]\n',
        '"jobs" is not among the defaults; did you mean "job"?',
        id="minus",
    ),
    pytest.param(
        "cluster: {}\ncluster: {}\n", '4: the key "cluster" is already set in line 3', id="duplicate key"
    ),
    pytest.param(
        "cluster: &a\n  name: *a\n", "4: cluster.name: an alias refers to what contains it", id="loop"
    ),
    pytest.param(
        "cluster: !!python/object:os.system {}\n", "the tag tag:yaml.org,2002:python", id="foreign tag"
    ),
    pytest.param("cluster: {<<: {name: x}}\n", 'the merge key "<<" is not supported', id="merge key"),
    pytest.param("cluster: [\n", "not valid YAML", id="broken YAML"),
    pytest.param("---\nkind: Other\n", "not valid YAML: but found another document", id="two documents"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_wrong_is_named_with_its_line(written: Any, text: str, message: str) -> None:
    path = written(text)
    with pytest.raises(ConfigError) as refusal:
        load(path)
    assert str(refusal.value).startswith(f"{path}:")
    assert message in str(refusal.value)


def test_the_header_is_required(written: Any) -> None:
    with pytest.raises(ConfigError, match=r"apiVersion is missing; write apiVersion: kubernel.dev/v1"):
        load(written("cluster: {}\n", header=""))
    with pytest.raises(ConfigError, match=r"1: apiVersion: expected kubernel.dev/v1"):
        load(written("kind: Configuration\n", header="apiVersion: kubernel.dev/v2\n"))


def test_an_alias_bomb_is_refused_quickly(written: Any) -> None:
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="expands to more than 10000 values"):
        load(written("\n".join(lines)))


def test_deep_nesting_is_refused(written: Any) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(written("cluster: " + "[" * 3_000 + "]" * 3_000))


def test_a_huge_file_is_refused(written: Any) -> None:
    with pytest.raises(ConfigError, match="at most 1048576 bytes"):
        load(written("# " + "x" * (1 << 20)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing.yaml: cannot read the file: No such file"):
        load(tmp_path / "nothing.yaml")


def test_binary_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path)


@dataclass(frozen=True)
class Probe:
    path: str = "/"
    period: Duration = 10.0


@dataclass(frozen=True)
class Settings:
    workers: int = 1
    ratio: float = 0.5
    strict: bool = False
    mode: Literal["fast", "safe"] = "safe"
    timeout: Duration = 30.0
    names: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    probe: Probe = field(default_factory=Probe)
    backup: Probe | None = None
    node_ips: tuple[str, ...] = ()
    folder: Path = Path()

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError("workers: at least one is needed")


def convert(data: dict[str, Any]) -> Settings:
    config = parse({"plugins": {"controller": [{"x": data}]}})
    return settings(Settings, config.plugins["controller"][0])


def test_settings_of_every_type_are_converted() -> None:
    assert convert(
        {
            "workers": 3,
            "ratio": 1,
            "strict": True,
            "mode": "fast",
            "timeout": "1m30s",
            "names": ["a"],
            "labels": {"a": "b"},
            "probe": {"period": "500ms"},
            "backup": None,
            "nodeIPs": ["10.0.0.1"],
            "folder": "/tmp/x",
        }
    ) == Settings(
        3, 1.0, True, "fast", 90.0, ["a"], {"a": "b"}, Probe("/", 0.5), None, ("10.0.0.1",), Path("/tmp/x")
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            {"worker": 1}, 'worker: unknown setting "worker"; did you mean "workers"?', id="unknown"
        ),
        pytest.param(
            {"workers": "3"}, 'workers: expected a whole number, got the text "3"', id="text for number"
        ),
        pytest.param({"workers": 1.5}, "workers: expected a whole number, got the number 1.5", id="fraction"),
        pytest.param(
            {"strict": "yes"}, 'strict: expected true or false, got the text "yes"', id="text for truth"
        ),
        pytest.param(
            {"mode": "quick"}, 'mode: got the text "quick"; it must be one of fast, safe', id="choice"
        ),
        pytest.param({"timeout": "soon"}, 'timeout: "soon" is not a duration such as 10s', id="duration"),
        pytest.param({"timeout": -1}, "timeout: expected a duration", id="negative duration"),
        pytest.param({"names": "a"}, 'names: expected a list, got the text "a"', id="text for list"),
        pytest.param({"names": [1]}, "names[0]: expected text, got the number 1", id="item of a list"),
        pytest.param({"labels": {"a": 1}}, "labels.a: expected text, got the number 1", id="value of a map"),
        pytest.param({"probe": {"perid": 1}}, 'probe.perid: unknown setting "perid"', id="nested"),
        pytest.param({"workers": 0}, "workers: at least one is needed", id="the plugin's own rule"),
        pytest.param({"workers": None}, "workers: expected a whole number, got nothing", id="nothing"),
    ],
)
def test_wrong_settings_are_named(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        convert(data)
    assert message in str(refusal.value)
    assert "plugins.controller[0].x" in str(refusal.value)


def test_a_required_setting_that_is_missing_is_named() -> None:
    @dataclass(frozen=True)
    class Needy:
        url: str

    choice = parse({"plugins": {"controller": ["x"]}}).plugins["controller"][0]
    with pytest.raises(ConfigError, match='the setting "url" is missing'):
        settings(Needy, choice)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1h30m", 5400), ("250ms", 0.25), ("1d", 86400), ("1.5s", 1.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "-1s", "1x", "1s2"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("field_name", "key"),
    [("pod_cidr", "podCIDR"), ("data_dir", "dataDir"), ("name", "name"), ("dns_ip", "dnsIP")],
)
def test_keys_are_camel_case_with_initialisms(field_name: str, key: str) -> None:
    assert camel_case(field_name) == key


def test_the_command_line_overrides_the_file(written: Any) -> None:
    config = load(written("cluster:\n  name: shop\n  dataDir: /srv/shop\n"))
    assert config.with_cluster(port=1).cluster.data_dir == Path("/srv/shop")
    assert config.with_cluster(name="other").cluster.data_dir.name == "other"
    with pytest.raises(ConfigError, match="port: -1"):
        config.with_cluster(port=-1)


def test_the_data_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert ClusterSettings(name="x").data_dir == Path("/data/kubernel/x")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert ClusterSettings(name="x").data_dir == Path("/home/me/.local/share/kubernel/x")


@pytest.mark.parametrize(
    ("host", "node"),
    [("My_Laptop.Local", "my-laptop.local"), ("-x-", "x"), ("", "localhost"), ("ä", "localhost")],
)
def test_the_node_is_named_after_the_host(monkeypatch: pytest.MonkeyPatch, host: str, node: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert ClusterSettings().node_name == node
