"""A hook without documentation or without a test does not exist."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from kubernel.config import DEFAULT_PLUGINS, ClusterSettings, camel_case
from kubernel.plugin import hookspecs
from kubernel.plugin.contract import ROLES, Handle
from kubernel.plugin.manager import Hooks

ROOT = Path(__file__).parents[2]
SPECS = {
    node.name: node
    for node in ast.walk(ast.parse(inspect.getsource(hookspecs)))
    if isinstance(node, ast.FunctionDef)
}
PAGE = (ROOT / "docs" / "plugins.md").read_text()


def signature(node: ast.FunctionDef) -> str:
    """``kubernel_admit(request: Request) -> Awaitable[None] | None``."""
    arguments = ", ".join(
        f"{one.arg}: {ast.unparse(one.annotation)}"
        for one in node.args.args[1:]
        if one.annotation is not None
    )
    assert node.returns is not None
    return f"{node.name}({arguments}) -> {ast.unparse(node.returns)}"


@pytest.mark.parametrize("name", SPECS)
def test_each_hook_says_what_it_promises(name: str) -> None:
    text = ast.get_docstring(SPECS[name]) or ""
    assert len(text.split()) >= 10
    assert re.search("called|asked", text, re.IGNORECASE), "when is it called?"


@pytest.mark.parametrize("name", SPECS)
def test_each_hooks_exact_signature_is_in_the_reference(name: str) -> None:
    assert f"### `{signature(SPECS[name])}`" in PAGE


def test_the_reference_names_no_hook_that_is_gone() -> None:
    assert set(re.findall(r"^### `(kubernel_\w+)\(", PAGE, re.MULTILINE)) == set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_each_hook_is_called_through_the_facade(name: str) -> None:
    source = inspect.getsource(Hooks)
    assert f'"{name}"' in source


@pytest.mark.parametrize("name", SPECS)
def test_each_hook_has_a_test(name: str) -> None:
    tests = (path.read_text() for path in (ROOT / "tests" / "core").rglob("test_*.py"))
    assert any(name in text for text in tests)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_in_the_reference(role: str) -> None:
    kind = "one or none" if ROLES[role] == "driver" else "any number"
    assert re.search(rf"^\| `{role}` \| {kind} \|", PAGE, re.MULTILINE)
    for name in DEFAULT_PLUGINS[role]:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{role}` |"))
        assert f"`{name}`" in row


def test_the_roles_stand_in_start_order() -> None:
    assert re.findall(r"^\| `(\w+)` \| (?:one or none|any number) \|", PAGE, re.MULTILINE) == list(ROLES)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ClusterSettings)])
def test_each_cluster_setting_is_in_the_reference(field: str) -> None:
    assert f"| `{camel_case(field)}` |" in PAGE


@pytest.mark.parametrize("member", [name for name in vars(Handle) if not name.startswith("_")])
def test_each_member_of_the_handle_is_in_the_reference(member: str) -> None:
    assert re.search(rf"^\|.*`{member}[`(]", PAGE, re.MULTILINE)
