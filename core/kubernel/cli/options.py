"""Options that several subcommands share, and the configuration they lead to."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.config import Configuration

__all__ = ["add_format", "add_target", "configuration", "load"]


def add_target(parser: argparse.ArgumentParser) -> None:
    """``--config``, ``--name`` and ``--data-dir``: which cluster is meant."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="configuration file (default: $KUBERNEL_CONFIG, else ~/.config/kubernel/config.yaml if there)",
    )
    parser.add_argument("--name", help="the cluster's name (default: kubernel)")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where its state is kept (default: ~/.local/share/kubernel/NAME)"
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print it")


def load(path: str | None) -> Configuration:
    """The file named, else $KUBERNEL_CONFIG, else the user's, else the defaults."""
    from kubernel import config

    named = path or os.environ.get("KUBERNEL_CONFIG", "")
    if named:
        return config.load(Path(named))
    default = config.default_config_path()
    return config.load(default if default.is_file() else None)


def configuration(args: argparse.Namespace) -> Configuration:
    """The configuration that ``args`` mean, with the command line's own settings on top."""
    data_dir = getattr(args, "data_dir", None)
    return load(args.config).with_cluster(
        name=args.name,
        data_dir=Path(data_dir).expanduser().absolute() if data_dir else None,
        port=getattr(args, "port", None),
    )
