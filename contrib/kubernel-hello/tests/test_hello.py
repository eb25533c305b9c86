"""The controller in a cluster of the test kit, and the subcommand's conversation with it."""

from __future__ import annotations

from typing import Any

import pytest
from kubernel_hello.command import greeting

from kubernel.errors import ConfigError, KubernelError

NO_PODS: dict[str, Any] = dict.fromkeys(("node", "runtime", "scheduler", "scheduler_policy"))


def config(*controllers: Any) -> dict[str, Any]:
    """A cluster that runs no pods: its namespaces, and these controllers."""
    return {"plugins": {**NO_PODS, "controller": ["bootstrap", *controllers]}}


CONFIG = config({"hello": {"greeting": "Good morning"}})


def card(name: str, who: str = "") -> dict[str, Any]:
    labels = {"hello.kubernel.dev/greet": who} if who else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}


def test_a_labelled_config_map_is_greeted(cluster_factory: Any) -> None:
    cluster = cluster_factory(config=CONFIG)
    cluster.create(card("a", "World"))
    cluster.settle()
    assert cluster.get("configmaps", "a")["data"] == {"greeting": "Good morning, World!"}


def test_others_are_left_alone(cluster_factory: Any) -> None:
    cluster = cluster_factory(config=CONFIG)
    before = cluster.create(card("b"))
    cluster.settle()
    assert cluster.get("configmaps", "b") == before


def test_a_greeting_that_is_taken_away_comes_back(cluster_factory: Any) -> None:
    cluster = cluster_factory(config=CONFIG)
    cluster.create(card("a", "World"))
    cluster.settle()
    cluster.patch("configmaps", "a", {"data": {"greeting": "Bye"}})
    cluster.settle()
    assert cluster.get("configmaps", "a")["data"]["greeting"] == "Good morning, World!"


def test_the_command_gets_its_greeting_and_leaves_nothing(cluster_factory: Any) -> None:
    cluster = cluster_factory(config=CONFIG)
    client = cluster.kernel.client("kubernetes-admin", ["system:masters"])
    assert cluster.run(greeting(client, cluster.kernel.clock, "default", "Jo", 10)) == "Good morning, Jo!"
    assert cluster.list("configmaps", "default") == []


def test_the_command_says_when_nobody_greets(cluster_factory: Any) -> None:
    cluster = cluster_factory(config=config())
    client = cluster.kernel.client("kubernetes-admin", ["system:masters"])
    with pytest.raises(KubernelError, match="nobody greets"):
        cluster.run(greeting(client, cluster.kernel.clock, "default", "Jo", 0))


def test_an_empty_greeting_is_refused(cluster_factory: Any) -> None:
    with pytest.raises(ConfigError, match="there must be a word to greet with"):
        cluster_factory(config=config({"hello": {"greeting": ""}}))
