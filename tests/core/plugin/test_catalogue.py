"""Finding and importing plugins: every way it goes wrong, and that nothing else is imported."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kubernel.config import parse
from kubernel.errors import PluginError
from kubernel.plugin.catalogue import Catalogue

GOOD = "from kubernel.plugin import Plugin\nclass Good(Plugin): pass\n"


@pytest.fixture(params=["scanned", "remembered"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A function that gives a catalogue: of a fresh scan, or of one that was remembered."""

    def make() -> Catalogue:
        if request.param == "scanned":
            return Catalogue()
        Catalogue(tmp_path / "cache" / "plugins.json").all()
        return Catalogue(tmp_path / "cache" / "plugins.json")

    return make


def test_a_plugin_of_another_distribution_is_found(distribution: Any, catalogue: Any) -> None:
    distribution(
        "acme-good", {"kubernel.controller": {"good": "acme_good:Good"}}, version="2.5", acme_good=GOOD
    )
    found = catalogue().select("controller", "good")
    assert (found.distribution, found.version, found.value) == ("acme-good", "2.5", "acme_good:Good")
    assert catalogue().load(found).__name__ == "Good"


def test_only_what_is_loaded_is_imported(distribution: Any, catalogue: Any) -> None:
    points = {"kubernel.controller": {"good": "acme_good:Good", "other": "acme_other:Other"}}
    distribution("acme", points, acme_good=GOOD, acme_other="raise SystemExit('imported')")
    made = catalogue()
    made.load(made.select("controller", "good"))
    assert "acme_other" not in sys.modules


def test_a_missing_plugin_is_refused_with_what_is_meant(distribution: Any, catalogue: Any) -> None:
    distribution("acme", {"kubernel.controller": {"acme-reaper": "acme_good:Good"}}, acme_good=GOOD)
    with pytest.raises(PluginError) as refusal:
        catalogue().select("controller", "acme-raper")
    assert str(refusal.value) == (
        'there is no plugin "acme-raper" of group kubernel.controller; did you mean "acme-reaper"?'
    )


def test_a_missing_plugin_is_refused_with_what_there_is(distribution: Any, catalogue: Any) -> None:
    distribution("acme", {"kubernel.proxy": {"one": "a:A", "two": "b:B"}, "kubernel.dns_": {"x": "y:Z"}})
    with pytest.raises(PluginError, match=r'no plugin "qqq" of group kubernel.proxy; known: one, two(, |$)'):
        catalogue().select("proxy", "qqq")


def test_a_plugin_of_another_role_is_recognized(distribution: Any, catalogue: Any) -> None:
    distribution("acme", {"kubernel.proxy": {"zzz": "a:A"}})
    with pytest.raises(PluginError, match=r'"zzz" is a plugin of role proxy'):
        catalogue().select("controller", "zzz")


def test_a_plugin_provided_twice_is_refused_naming_both(distribution: Any, catalogue: Any) -> None:
    distribution("acme", {"kubernel.proxy": {"same": "acme_a:A"}}, version="1.1")
    distribution("zeta", {"kubernel.proxy": {"same": "zeta_b:B"}}, version="3.0")
    with pytest.raises(PluginError) as refusal:
        catalogue().select("proxy", "same")
    assert str(refusal.value) == (
        'plugin "same" of group kubernel.proxy is provided more than once: by acme 1.1 (acme_a:A) and '
        "zeta 3.0 (zeta_b:B); uninstall all but one of them"
    )


def test_duplicates_that_nobody_uses_do_no_harm(distribution: Any, catalogue: Any) -> None:
    points = {"kubernel.proxy": {"same": "acme_a:A", "good": "acme_good:Good"}}
    distribution("acme", points, acme_good=GOOD)
    distribution("zeta", {"kubernel.proxy": {"same": "zeta_b:B"}})
    made = catalogue()
    assert made.load(made.select("proxy", "good"))


BROKEN = [
    pytest.param(
        "import no_such_module_here", 'the module "no_such_module_here" is not installed', id="dependency"
    ),
    pytest.param("raise ValueError('bad day')", "ValueError: bad day", id="exception"),
    pytest.param("assert False, 'never'", "AssertionError: never", id="assertion"),
    pytest.param("def f(:\n", "SyntaxError", id="syntax"),
    pytest.param("x = 1", "AttributeError", id="no such class"),
    pytest.param(
        "class Good: pass", "acme_bad:Good is not a subclass of kubernel.plugin.Plugin", id="no plugin"
    ),
    pytest.param("Good = 3", "is not a subclass of kubernel.plugin.Plugin", id="no class"),
]


@pytest.mark.parametrize(("source", "why"), BROKEN)
def test_a_broken_plugin_is_refused_with_its_origin(
    distribution: Any, catalogue: Any, source: str, why: str
) -> None:
    distribution("acme", {"kubernel.proxy": {"bad": "acme_bad:Good"}}, version="0.3", acme_bad=source)
    made = catalogue()
    with pytest.raises(PluginError) as refusal:
        made.load(made.select("proxy", "bad"))
    assert 'plugin "bad" of group kubernel.proxy from distribution acme 0.3' in str(refusal.value)
    assert why in str(refusal.value)


def test_the_configuration_line_is_named(distribution: Any, tmp_path: Path) -> None:
    from kubernel.config import load

    path = tmp_path / "c.yaml"
    path.write_text("apiVersion: kubernel.dev/v1\nkind: Configuration\nplugins:\n  store: nosuch\n")
    choice = load(path).plugins["store"][0]
    with pytest.raises(PluginError) as refusal:
        Catalogue().select_choice("store", choice)
    assert str(refusal.value).startswith(f'{path}:4: there is no plugin "nosuch"')
    programmatic = parse({"plugins": {"store": "nosuch"}}).plugins["store"][0]
    with pytest.raises(PluginError, match=r"^<configuration>: there is no plugin"):
        Catalogue().select_choice("store", programmatic)


def test_what_is_newly_installed_is_found_at_once(distribution: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "plugins.json"
    assert not [found for found in Catalogue(cache).all() if found.name == "late"]
    root = distribution("acme", {"kubernel.proxy": {"late": "a:A"}})
    assert Catalogue(cache).select("proxy", "late")
    (next(root.glob("*.dist-info")) / "entry_points.txt").write_text("[kubernel.proxy]\nlater = a:A\n")
    assert Catalogue(cache).select("proxy", "later")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1, "fingerprint": 3, "plugins": [{}]}'])
def test_a_damaged_cache_is_ignored(tmp_path: Path, text: str) -> None:
    cache = tmp_path / "plugins.json"
    cache.write_text(text)
    assert Catalogue(cache).of("cli")


def test_a_cache_that_others_may_write_is_ignored(tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "plugins.json"
    assert Catalogue(cache).of("cli")
    assert cache.stat().st_mode & 0o777 == 0o600
    data = json.loads(cache.read_text())
    data["plugins"] = []
    cache.write_text(json.dumps(data))
    assert not Catalogue(cache).of("cli")
    os.chmod(cache, 0o622)
    assert Catalogue(cache).of("cli")


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Catalogue(tmp_path / "file" / "plugins.json").of("cli")
