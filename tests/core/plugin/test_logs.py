"""Loggers: silent ones cost no import, the others are loguru's."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from kubernel.plugin.logs import Logs


@pytest.fixture
def heard() -> Any:
    from loguru import logger

    lines: list[str] = []
    number = logger.add(lines.append, format="{level} {extra[plugin]} {function} {message}", level=0)
    yield lines
    logger.remove(number)


def test_messages_below_the_level_are_dropped(heard: list[str]) -> None:
    log = Logs("warning").bind(plugin="controller/x")
    log.info("not this")
    log.warning("found {} of {}", 1, 2)
    assert heard == ["WARNING controller/x test_messages_below_the_level_are_dropped found 1 of 2\n"]


def test_what_is_bound_adds_up_and_loggers_options_work(heard: list[str]) -> None:
    log = Logs().bind(plugin="a").bind(plugin="b")
    try:
        raise ValueError("why")
    except ValueError as error:
        log.opt(exception=error).error("trouble")
        log.exception("again")
    assert heard[0].startswith("ERROR b test_what_is_bound_adds_up_and_loggers_options_work trouble\n")
    assert "ValueError: why" in heard[0]
    assert "ValueError: why" in heard[1]


def test_it_is_configured_once_before_the_first_message(heard: list[str]) -> None:
    calls: list[int] = []
    logs = Logs("INFO", lambda: calls.append(len(heard)))
    logs.bind(plugin="a").info("one")
    logs.bind(plugin="b").info("two")
    assert calls == [0]


def test_a_wrong_level_is_refused() -> None:
    with pytest.raises(ValueError, match='"loud" is not a log level'):
        Logs("loud")


def test_who_says_nothing_never_imports_loguru() -> None:
    code = (
        "import sys\nfrom kubernel.plugin.logs import Logs\n"
        "Logs().bind(plugin='x').info('quiet')\nassert 'loguru' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
