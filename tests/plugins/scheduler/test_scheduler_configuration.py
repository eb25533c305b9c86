"""A KubeSchedulerConfiguration is taken as it is; what is wrong with one is named."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from kubernel.plugin.scheduling import overrides
from kubernel.testing import Cluster
from kubernel_plugins.scheduler.default.configuration import SchedulerSettings, parse

EVERYTHING = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
parallelism: 16
clientConnection:
  {kubeconfig: /etc/kubernetes/scheduler.conf, qps: 50, burst: 100, contentType: a/b, acceptContentTypes: ""}
leaderElection:
  leaderElect: true
  leaseDuration: 30s
  renewDeadline: 20s
  retryPeriod: 4s
  resourceLock: leases
  resourceName: my-scheduler
  resourceNamespace: my-system
enableProfiling: true
enableContentionProfiling: true
percentageOfNodesToScore: 50
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
delayCacheUntilActive: false
extenders: []
profiles:
- schedulerName: default-scheduler
  percentageOfNodesToScore: 10
  plugins:
    multiPoint:
      enabled: [{name: NodeResourcesFit, weight: 5}]
      disabled: [{name: DynamicResources}, {name: ImageLocality}]
    score:
      disabled: [{name: TaintToleration}]
      enabled: [{name: NodeAffinity, weight: 7}]
  pluginConfig:
  - name: DefaultPreemption
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: DefaultPreemptionArgs
      minCandidateNodesPercentage: 5
      minCandidateNodesAbsolute: 50
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 2, ignorePreferredTermsOfExistingPods: true}
  - name: NodeAffinity
    args: {addedAffinity: {}}
  - name: NodeResourcesBalancedAllocation
    args: {resources: [{name: cpu, weight: 1}]}
  - name: NodeResourcesFit
    args:
      ignoredResources: []
      ignoredResourceGroups: [example.com]
      scoringStrategy: {type: LeastAllocated, resources: [{name: cpu, weight: 1}]}
  - name: PodTopologySpread
    args: {defaultConstraints: [], defaultingType: List}
  - name: VolumeBinding
    args: {bindTimeoutSeconds: 60, shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: DynamicResources
    args: {filterTimeout: 10s}
- schedulerName: second
"""


MAKING = "initializing profiles: creating profile for scheduler name default-scheduler: "


@pytest.fixture(scope="module")
def factories() -> Any:
    with Cluster() as cluster:
        return cluster.kernel.hooks.scheduler_policies()


def read(given: dict[str, Any], factories: Any) -> SchedulerSettings:
    classes = {factory.name: factory.build for factory in factories}
    return parse(given, "default-scheduler", factories, lambda name, point: overrides(classes[name], point))


def test_every_field_is_accepted_and_those_that_concern_us_count(factories: Any) -> None:
    settings = read(yaml.safe_load(EVERYTHING), factories)
    assert (settings.first_backoff, settings.last_backoff) == (2.0, 20.0)
    election = settings.election
    assert (election.name, election.namespace) == ("my-scheduler", "my-system")
    assert (election.lease_duration, election.renew_deadline, election.retry_period) == (30.0, 20.0, 4.0)
    first, second = settings.profiles
    weights = {each.name: each.weight for each in first.points["score"]}
    assert weights["NodeAffinity"] == 7
    assert weights["NodeResourcesFit"] == 5
    assert not weights.keys() & {"TaintToleration", "ImageLocality"}
    assert "TaintToleration" in {each.name for each in first.points["filter"]}
    assert {each.name: each.weight for each in second.points["score"]}["TaintToleration"] == 3
    assert first.arguments["DefaultPreemption"] == {
        "minCandidateNodesPercentage": 5,
        "minCandidateNodesAbsolute": 50,
    }


def test_a_whole_cluster_takes_it_too(cluster_factory: Any) -> None:
    scheduler = {"default": {"configuration": yaml.safe_load(EVERYTHING)}}
    cluster = cluster_factory(
        config={"cluster": {"leaderElection": True}, "plugins": {"scheduler": [scheduler]}}
    )
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "my-system"}})
    container = {"name": "m", "image": "x"}
    for name in ("default-scheduler", "second"):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [container], "schedulerName": name},
        }
        cluster.create(pod)
    cluster.wait(lambda: all(pod["spec"].get("nodeName") for pod in cluster.list("pods")))
    lease = cluster.get("leases.v1.coordination.k8s.io", "my-scheduler", "my-system")
    assert lease["spec"]["leaseDurationSeconds"] == 30


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param(
            {"parallelism": 0},
            "parallelism: Invalid value: 0: should be an integer value greater than zero",
            id="parallelism",
        ),
        pytest.param(
            {"percentageOfNodesToScore": 101},
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
            id="percentage",
        ),
        pytest.param(
            {"profiles": [{"percentageOfNodesToScore": -1}]},
            "profiles[0].percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]",
            id="of-a-profile",
        ),
        pytest.param(
            {"clientConnection": {"burst": -1}},
            "clientConnection.burst: Invalid value: -1: must be non-negative",
            id="burst",
        ),
        pytest.param({"clientConnection": {"qsp": 1}}, "clientConnection.qsp: unknown field", id="misspelt"),
        pytest.param(
            {"leaderElection": {"leaseDuration": "5s"}},
            "LeaseDuration must be greater than RenewDeadline",
            id="lease",
        ),
        pytest.param(
            {"leaderElection": {"retryPeriod": "9s"}},
            "RenewDeadline must be greater than RetryPeriod*JitterFactor",
            id="retry",
        ),
        pytest.param(
            {"leaderElection": {"resourceLock": "endpoints"}},
            'resourceLock value must be "leases"',
            id="lock",
        ),
        pytest.param(
            {"leaderElection": {"renewDeadline": "soon"}},
            "leaderElection.renewDeadline: Invalid value",
            id="duration",
        ),
        pytest.param(
            {"podInitialBackoffSeconds": 0},
            "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
            id="backoff",
        ),
        pytest.param(
            {"podMaxBackoffSeconds": 0},
            "podMaxBackoffSeconds: Invalid value: 0: must be greater than or equal to PodInitialBackoffSeconds",
            id="max-backoff",
        ),
        pytest.param(
            {"profiles": [{"schedulerName": "a"}, {}]},
            "profiles[1].schedulerName: Required value",
            id="nameless",
        ),
        pytest.param(
            {"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]},
            'profiles: Duplicate value: "a"',
            id="twice",
        ),
        pytest.param(
            {"extenders": [{"bindVerb": "b"}, {"bindVerb": "b"}]},
            'extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind',
            id="two-extenders-that-bind",
        ),
        pytest.param(
            {"extenders": [{"managedResources": [{"name": "cpu"}]}]},
            'extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name',
            id="an-extender-of-no-extended-resource",
        ),
        pytest.param(
            {"extenders": [{"managedResources": [{"name": "example.com/a"}, {"name": "example.com/a"}]}]},
            'Invalid value: "example.com/a": duplicate extender managed resource name',
            id="a-resource-managed-twice",
        ),
        pytest.param(
            {"extenders": [{"tlsConfig": {"caFiel": "x"}}]},
            "extenders[0].tlsConfig.caFiel: unknown field",
            id="an-extenders-unknown-field",
        ),
        pytest.param(
            {"profiles": [{"plugins": {"filter": {"enabled": [{"name": "EBSLimits"}]}}}]},
            'profiles[0].plugins.filter.enabled[0]: Invalid value: "EBSLimits": was invalid in version '
            '"kubescheduler.config.k8s.io/v1" (KubeSchedulerConfiguration is version '
            '"kubescheduler.config.k8s.io/v1")',
            id="a-policy-that-was-removed",
        ),
        pytest.param(
            {"profiles": [{"plugins": {"filter": {"enabled": [{"name": "NodeNme"}]}}}]},
            f'{MAKING}FilterPlugin "NodeNme" does not exist',
            id="unknown-policy",
        ),
        pytest.param(
            {"profiles": [{"plugins": {"multiPoint": {"enabled": [{"name": "NodeNme"}]}}}]},
            f'{MAKING}PreFilterPlugin "NodeNme" does not exist',
            id="unknown-policy-everywhere",
        ),
        pytest.param(
            {"profiles": [{"plugins": {"filter": {"enabled": [{"name": "ImageLocality"}]}}}]},
            f'{MAKING}plugin "ImageLocality" does not extend FilterPlugin plugin',
            id="a-policy-at-another-point",
        ),
        pytest.param(
            {
                "profiles": [
                    {"plugins": {"filter": {"enabled": [{"name": "NodeName"}, {"name": "NodeName"}]}}}
                ]
            },
            f'{MAKING}plugin "NodeName" already registered as "FilterPlugin"',
            id="a-policy-twice",
        ),
        pytest.param(
            {"profiles": [{"plugins": {"queueSort": {"disabled": [{"name": "*"}]}}}]},
            f"{MAKING}only one queue sort plugin required for profile with scheduler name "
            '"default-scheduler", but got 0',
            id="nobody-who-sorts",
        ),
        pytest.param(
            {"profiles": [{"plugins": {"bind": {"disabled": [{"name": "*"}]}}}]},
            f'{MAKING}at least one bind plugin is needed for profile with scheduler name "default-scheduler"',
            id="nobody-who-binds",
        ),
        pytest.param(
            {"healthzBindAddress": ""}, "healthzBindAddress: unknown field", id="of-an-older-version"
        ),
        pytest.param(
            {"apiVersion": "kubescheduler.config.k8s.io/v1beta3"},
            "is not kubescheduler.config.k8s.io/v1",
            id="older-version",
        ),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], text: str, factories: Any) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is looked at
        read(given, factories)
    assert text in str(refused.value)


def test_arguments_of_a_policy_that_is_not_there_are_accepted(factories: Any) -> None:
    given = {"profiles": [{"pluginConfig": [{"name": "SomebodyElses", "args": {"a": 1}}]}]}
    assert read(given, factories).profiles[0].scheduler_name == "default-scheduler"
