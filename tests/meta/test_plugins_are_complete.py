"""Every plugin can be imported, has a README with what a user needs, and its example is a configuration."""

from __future__ import annotations

import dataclasses
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from kubernel.cli.config import check_plugins
from kubernel.config import DEFAULT_PLUGINS, camel_case
from kubernel.config.configuration import load
from kubernel.plugin.catalogue import Catalogue, Found
from kubernel.plugin.contract import ROLES

ROOT = Path(__file__).parents[2]
OPTIONAL = {
    ("admission", "deny_service_external_ips"),
    ("admission", "event_rate_limit"),
    ("admission", "always_pull_images"),
    ("admission", "owner_references"),
    ("admission", "pod_node_selector"),
    ("admission", "extended_resource_toleration"),
    ("admission", "image_policy"),
    ("audit", "webhook"),
    ("auth", "request_header"),
    ("auth", "oidc"),
    ("auth", "token_webhook"),
    ("auth", "authorization_webhook"),
    ("store", "memory"),
    ("runtime", "simulated"),
    ("node", "simulated"),
    ("scheduler_policy", "gang_scheduling"),
}
"""What is part of kubernel and not on by default."""


def _declared() -> list[Found]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [
        Found(group.removeprefix("kubernel."), name, value, "kubernel", "")
        for group, points in project["entry-points"].items()
        if group.startswith("kubernel.")
        for name, value in points.items()
    ]


DECLARED = _declared()
PLUGINS = [
    pytest.param(found, id=f"{found.role}/{found.name}")
    for found in DECLARED
    if found.value.startswith("kubernel_plugins.")
]
READMES = [
    pytest.param(path, id=str(path.parent.relative_to(ROOT)))
    for path in [*(ROOT / "plugins").rglob("README.md"), *(ROOT / "contrib").glob("*/README.md")]
]
EXAMPLE = re.compile(r"^## Example\n.*?^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def readme(found: Found) -> str:
    path = ROOT / "plugins" / Path(*found.value.partition(":")[0].split(".")) / "README.md"
    assert path.is_file(), f"{path} is missing"
    return path.read_text()


def test_only_known_roles_have_entry_points() -> None:
    assert {found.role for found in DECLARED} <= ROLES.keys()


def test_what_is_on_by_default_is_ours() -> None:
    defaults = {(role, name) for role, names in DEFAULT_PLUGINS.items() for name in names}
    assert {(found.role, found.name) for found in DECLARED} == defaults | OPTIONAL


@pytest.mark.parametrize("found", PLUGINS)
def test_each_plugin_can_be_imported(found: Found) -> None:
    cls = Catalogue().load(found)
    module = importlib.import_module(found.value.partition(":")[0])
    assert cls.__doc__ or module.__doc__, "a plugin says what it is"
    assert dataclasses.is_dataclass(cls.Settings)


@pytest.mark.parametrize("found", PLUGINS)
def test_each_plugin_has_a_readme_that_names_every_setting(found: Found) -> None:
    text = readme(found)
    assert re.match(r"# \S", text)
    for section in ("Description", "Configuration", "Example"):
        assert re.search(rf"^## {section}$", text, re.MULTILINE), f"no section {section}"
    for field in dataclasses.fields(Catalogue().load(found).Settings):
        assert f"`{camel_case(field.name)}`" in text, f"the setting {camel_case(field.name)} is not described"


@pytest.mark.parametrize("path", READMES)
def test_each_example_is_a_configuration_that_is_accepted(path: Path, tmp_path: Path) -> None:
    example = EXAMPLE.search(path.read_text())
    assert example, "no section Example with a yaml block"
    written = tmp_path / "example.yaml"
    written.write_text(example[1])
    config = load(written)
    installed = {(found.role, found.name) for found in Catalogue().all()}
    missing = {(role, one.name) for role, chosen in config.plugins.items() for one in chosen} - installed
    if missing and path.is_relative_to(ROOT / "contrib"):
        pytest.skip(f"{path.parent.name} is not installed here")
    assert check_plugins(config, Catalogue()) > 0


def test_no_file_hides_a_second_subject() -> None:
    sources = [*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert not {path: lines for path, lines in long.items() if lines > 600}


def test_pluggy_and_stevedore_stay_in_their_places() -> None:
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        place = path.relative_to(ROOT).as_posix()
        words = set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
        assert "pluggy" not in words or place.startswith("core/kubernel/plugin/"), place
        assert "stevedore" not in words or place == "core/kubernel/plugin/loader.py", place
