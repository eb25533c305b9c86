"""What the scheduler of Kubernetes v1.37 said of policies' arguments when it was started with them:
``recorded/arguments.json``; ``error`` is null where it began to work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubernel.errors import PluginError

RECORDED = json.loads((Path(__file__).parent / "recorded" / "arguments.json").read_text())


@pytest.mark.parametrize("recorded", [pytest.param(each, id=each["name"]) for each in RECORDED])
def test_arguments_are_judged_as_they_were_by_the_scheduler_of_kubernetes(
    cluster_factory: Any, recorded: dict[str, Any]
) -> None:
    profile = {"schedulerName": "default-scheduler", "pluginConfig": [recorded["pluginConfig"]]}
    scheduler = {"default": {"configuration": {"profiles": [profile]}}}
    config = {"plugins": {"scheduler": [scheduler], "node": [], "controller": [], "admission": []}}
    cluster = cluster_factory(config=config)
    plugin: Any = cluster.kernel.plugin("scheduler", "default")
    if recorded["error"] is None:
        cluster.run(plugin._make())
        return
    with pytest.raises(PluginError) as refused:
        cluster.run(plugin._make())
    assert str(refused.value) == f"scheduler default: {recorded['error']}"
