"""``kubernel config show`` and ``config check``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel import config as configuration
from kubernel.cli import options

if TYPE_CHECKING:
    from kubernel.config import Configuration
    from kubernel.plugin.catalogue import Catalogue

__all__ = ["as_document", "check", "check_plugins", "show"]


def show(args: argparse.Namespace) -> int:
    import yaml

    print(yaml.safe_dump(as_document(options.configuration(args)), sort_keys=False), end="")
    return 0


def check(args: argparse.Namespace) -> int:
    from kubernel.plugin.catalogue import Catalogue

    if args.file:
        args.config = args.file
    config = options.configuration(args)
    count = check_plugins(config, Catalogue())
    source = config.source or "the embedded defaults"
    print(f"{source}: fine, {count} plugins")
    return 0


def check_plugins(config: Configuration, catalogue: Catalogue) -> int:
    """Select and import every plugin and convert its settings; how many there are. ConfigError or
    PluginError for the first that is wrong, with the place where it is named."""
    count = 0
    for role, choices in config.plugins.items():
        for choice in choices:
            cls = catalogue.load_choice(catalogue.select_choice(role, choice), choice)
            configuration.settings(cls.Settings, choice)
            count += 1
    return count


def as_document(config: Configuration) -> dict[str, Any]:
    """The configuration in effect as a configuration file's data: it may be loaded again."""
    cluster: dict[str, Any] = {}
    for field in dataclasses.fields(config.cluster):
        value = getattr(config.cluster, field.name)
        cluster[configuration.camel_case(field.name)] = str(value) if isinstance(value, Path) else value
    plugins: dict[str, Any] = {}
    for role, choices in config.plugins.items():
        named = [
            {choice.name: choice.section.plain()} if choice.section.value else choice.name
            for choice in choices
        ]
        if role in configuration.DRIVER_ROLES:
            plugins[role] = named[0] if named else None
        else:
            plugins[role] = named
    return {
        "apiVersion": configuration.API_VERSION,
        "kind": configuration.KIND,
        "cluster": cluster,
        "plugins": plugins,
    }
