"""The Pod Security Standards: each check passes and fails, and what each mode does about it."""

from __future__ import annotations

from typing import Any

import pytest
from workload_kit import deployment, pod, template

from kubernel.errors import Forbidden, Invalid
from kubernel.testing import Cluster
from kubernel_plugins.admission.pod_security.policy import LevelVersion, details, evaluate, reasons

PREFIX = "pod-security.kubernetes.io/"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
NON_ROOT = {"runAsNonRoot": True}
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"


def container(name: str = "a", **context: Any) -> dict[str, Any]:
    return {"name": name, "image": "x", "securityContext": context}


def spec(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"containers": list(containers) or [{"name": "a", "image": "x"}], **more}


def hardened(**more: Any) -> dict[str, Any]:
    """What the restricted standard wants."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        **more,
    }


def judge(
    level: str, pod_spec: dict[str, Any], minor: int | None = None, annotations: dict[str, str] | None = None
) -> str:
    return details(evaluate(LevelVersion(level, minor), annotations or {}, pod_spec))


BASELINE = [
    pytest.param(
        spec(container(appArmorProfile={"type": "RuntimeDefault"})),
        spec(container(appArmorProfile={"type": "Unconfined"})),
        'forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")',
        id="appArmorProfile",
    ),
    pytest.param(
        spec(container(capabilities={"add": ["CHOWN", "KILL"]})),
        spec(container(capabilities={"add": ["NET_RAW", "CHOWN", "BPF"]}), container("b")),
        'non-default capabilities (container "a" must not include "BPF", "NET_RAW" in '
        "securityContext.capabilities.add)",
        id="capabilities_baseline",
    ),
    pytest.param(
        spec(hostNetwork=False),
        spec(hostNetwork=True, hostPID=True, hostIPC=True),
        "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
        id="hostNamespaces",
    ),
    pytest.param(
        spec(volumes=[{"name": "v", "emptyDir": {}}]),
        spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "hostPath": {"path": "/"}}]),
        'hostPath volumes (volumes "v", "w")',
        id="hostPathVolumes",
    ),
    pytest.param(
        spec({"name": "a", "ports": [{"containerPort": 80, "hostPort": 0}]}),
        spec(
            {
                "name": "a",
                "ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 81}],
            },
            {"name": "b", "ports": [{"containerPort": 82, "hostPort": 82}]},
        ),
        'hostPort (containers "a", "b" use hostPorts 80, 81, 82)',
        id="hostPorts",
    ),
    pytest.param(
        spec({"name": "a", "livenessProbe": {"httpGet": {"port": 80}}}),
        spec(
            {
                "name": "a",
                "livenessProbe": {"httpGet": {"port": 80, "host": "10.0.0.1"}},
                "lifecycle": {"preStop": {"tcpSocket": {"port": 80, "host": "10.0.0.2"}}},
            }
        ),
        'probe or lifecycle host (container "a" uses probe or lifecycle hosts "10.0.0.1", "10.0.0.2")',
        id="hostProbesAndHostLifecycle",
    ),
    pytest.param(
        spec(container(privileged=False)),
        spec(container(privileged=True)),
        'privileged (container "a" must not set securityContext.privileged=true)',
        id="privileged",
    ),
    pytest.param(
        spec(container(procMount="Default")),
        spec(container(procMount="Unmasked")),
        'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
        id="procMount",
    ),
    pytest.param(
        spec(container(seLinuxOptions={"type": "container_engine_t"})),
        spec(
            container(seLinuxOptions={"type": "spc_t", "role": "r"}),
            securityContext={"seLinuxOptions": {"user": "u"}},
        ),
        'seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: type "spc_t"; '
        "user may not be set; role may not be set)",
        id="seLinuxOptions",
    ),
    pytest.param(
        spec(container(seccompProfile={"type": "Localhost", "localhostProfile": "p"})),
        spec(container(seccompProfile={"type": "Unconfined"})),
        'seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")',
        id="seccompProfile_baseline",
    ),
    pytest.param(
        spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_notsent_lowat", "value": "1"}]}),
        spec(
            securityContext={
                "sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "a.b", "value": "1"}]
            }
        ),
        "forbidden sysctls (kernel.msgmax, a.b)",
        id="sysctls",
    ),
    pytest.param(
        spec(securityContext={"windowsOptions": {"hostProcess": False}}),
        spec(
            container(windowsOptions={"hostProcess": True}),
            securityContext={"windowsOptions": {"hostProcess": True}},
        ),
        'hostProcess (pod and container "a" must not set securityContext.windowsOptions.hostProcess=true)',
        id="windowsHostProcess",
    ),
]


@pytest.mark.parametrize(("good", "bad", "told"), BASELINE)
def test_each_baseline_check_passes_and_fails(good: dict[str, Any], bad: dict[str, Any], told: str) -> None:
    assert judge("baseline", good) == ""
    assert judge("baseline", bad) == told
    assert judge("privileged", bad) == ""


RESTRICTED = [
    pytest.param(
        hardened(allowPrivilegeEscalation=True),
        'allowPrivilegeEscalation != false (container "a" must set '
        "securityContext.allowPrivilegeEscalation=false)",
        id="allowPrivilegeEscalation",
    ),
    pytest.param(
        hardened(capabilities={"drop": ["KILL"], "add": ["NET_BIND_SERVICE", "CHOWN"]}),
        'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; container '
        '"a" must not include "CHOWN" in securityContext.capabilities.add)',
        id="capabilities_restricted",
    ),
    pytest.param(
        hardened(procMount="Unmasked"),
        'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
        id="procMount_restricted",
    ),
    pytest.param(
        hardened(runAsNonRoot=False),
        'runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)',
        id="runAsNonRoot-said-no",
    ),
    pytest.param(
        hardened(runAsNonRoot=None),
        'runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)',
        id="runAsNonRoot-not-said",
    ),
    pytest.param(
        hardened(runAsUser=0), 'runAsUser=0 (container "a" must not set runAsUser=0)', id="runAsUser"
    ),
    pytest.param(
        hardened(seccompProfile=None),
        'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")',
        id="seccompProfile_restricted-not-said",
    ),
    pytest.param(
        hardened(seccompProfile={"type": "Unconfined"}),
        'seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")',
        id="seccompProfile_restricted-wrong",
    ),
]


@pytest.mark.parametrize(("context", "told"), RESTRICTED)
def test_each_restricted_check_passes_and_fails(context: dict[str, Any], told: str) -> None:
    assert judge("restricted", spec(container(**hardened()))) == ""
    assert judge("restricted", spec(container(**context))) == told
    for kind in ("initContainers", "ephemeralContainers"):
        other = spec(container("b", **hardened()), **{kind: [container("a", **context)]})
        assert judge("restricted", other) == told


def test_the_restricted_standard_knows_which_volumes_are_harmless() -> None:
    harmless = (
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
        "secret",
    )  # fmt: skip
    good = spec(container(**hardened()), volumes=[{"name": kind.lower(), kind: {}} for kind in harmless])
    assert judge("restricted", good) == ""
    bad = [{"name": "h", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {"server": "s", "path": "/"}}]
    assert judge("restricted", spec(container(**hardened()), volumes=bad)) == (
        'restricted volume types (volumes "h", "n" use restricted volume types "hostPath", "nfs")'
    )


def test_a_pods_own_context_counts_for_containers_that_say_nothing() -> None:
    silent = container(allowPrivilegeEscalation=False, capabilities={"drop": ["ALL"]})
    pod_level = {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}
    assert judge("restricted", spec(silent, securityContext=pod_level)) == ""


def test_annotations_count_for_apparmor_and_in_old_versions_for_seccomp() -> None:
    marks = {f"{APPARMOR}a": "unconfined", f"{APPARMOR}b": "localhost/p", f"{APPARMOR}c": "runtime/default"}
    assert judge("baseline", spec(), None, marks).startswith(
        "forbidden AppArmor profile (annotation must not set "
    )
    old = judge("baseline", spec(), 18, {SECCOMP: "unconfined"})
    assert old == f'seccompProfile (forbidden annotation {SECCOMP}="unconfined")'
    assert judge("baseline", spec(), 18, {SECCOMP: "docker/default"}) == ""
    assert judge("baseline", spec(), 19, {SECCOMP: "unconfined"}) == ""


@pytest.mark.parametrize(
    ("level", "pod_spec", "minor"),
    [
        pytest.param("baseline", BASELINE[5].values[1], 34, id="hosts-of-probes-from-1.34"),
        pytest.param("restricted", spec(container(**hardened(runAsUser=0))), 23, id="root-user-from-1.23"),
        pytest.param("restricted", spec(container(**hardened(capabilities={}))), 22, id="drop-all-from-1.22"),
        pytest.param(
            "restricted", spec(container(**hardened(seccompProfile=None))), 19, id="seccomp-from-1.19"
        ),
        pytest.param(
            "restricted",
            spec(container(**hardened(allowPrivilegeEscalation=None))),
            8,
            id="escalation-from-1.8",
        ),
    ],
)
def test_a_check_holds_from_its_version_on(level: str, pod_spec: dict[str, Any], minor: int) -> None:
    assert judge(level, pod_spec, minor - 1) == ""
    assert judge(level, pod_spec, minor)
    assert judge(level, pod_spec, 99) == judge(level, pod_spec)


@pytest.mark.parametrize(
    ("pod_spec", "level", "minor"),
    [
        pytest.param(
            spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]}),
            "baseline", 32, id="sysctl-since-1.32",
        ),
        pytest.param(
            spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_fin_timeout", "value": "1"}]}),
            "baseline", 29, id="sysctl-since-1.29",
        ),
        pytest.param(
            spec(securityContext={"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]}),
            "baseline", 27, id="sysctl-since-1.27",
        ),
        pytest.param(
            spec(container(seLinuxOptions={"type": "container_engine_t"})), "baseline", 31, id="selinux-since-1.31"
        ),
        pytest.param(spec(os={"name": "windows"}, securityContext=NON_ROOT), "restricted", 25, id="windows"),
        pytest.param(spec(container(procMount="Unmasked"), hostUsers=False), "baseline", 35, id="user-namespace"),
        pytest.param(
            spec(container(**hardened(runAsUser=0, runAsNonRoot=False)), hostUsers=False),
            "restricted", 35, id="root-in-a-user-namespace",
        ),
    ],
)  # fmt: skip
def test_what_a_version_allows_the_one_before_did_not(
    pod_spec: dict[str, Any], level: str, minor: int
) -> None:
    assert judge(level, pod_spec, minor - 1)
    assert judge(level, pod_spec, minor) == ""


def test_a_user_namespace_does_not_unmask_proc_in_the_restricted_standard() -> None:
    own = spec(container(**hardened(procMount="Unmasked")), hostUsers=False)
    assert reasons(evaluate(LevelVersion("restricted", None), {}, own)) == "procMount"


# --- in a cluster


def namespace(name: str, **labels: str) -> dict[str, Any]:
    marks = {PREFIX + key.replace("_", "-"): value for key, value in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": marks}}


def warnings(cluster: Cluster, obj: dict[str, Any], plural: str, group: str, space: str) -> tuple[str, ...]:
    from kubernel.registry.operations import Result
    from kubernel.registry.request import UserInfo, WriteOptions

    registry = cluster.kernel.registry
    type = registry.lookup(group, "v1", plural)
    assert type is not None

    async def write() -> Result:
        return await registry.create(UserInfo("jane"), type, space, obj, WriteOptions())

    return cluster.run(write()).warnings


def test_a_pod_that_violates_the_enforced_level_is_refused_in_upstreams_words(cluster: Cluster) -> None:
    cluster.create(namespace("tight", enforce="restricted"))
    with pytest.raises(Forbidden) as refusal:
        cluster.create(pod("a"), namespace="tight")
    assert refusal.value.message == (
        'pods "a" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
        '(container "main" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities '
        '(container "main" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container '
        '"main" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "main" must set '
        'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )
    good = {"name": "main", "image": "x", "securityContext": hardened()}
    cluster.create(pod("a", containers=[good]), namespace="tight")


def test_a_workload_is_taken_with_a_warning(cluster: Cluster) -> None:
    cluster.create(namespace("warned", warn="baseline", warn_version="v1.30", enforce="baseline"))
    made = deployment(pod_template=template({"app": "web"}, hostNetwork=True))
    assert warnings(cluster, made, "deployments", "apps", "warned") == (
        'would violate PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true)',
    )
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {
            "schedule": "0 0 * * *",
            "jobTemplate": {"spec": {"template": {"spec": {
                "hostPID": True, "restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}}}},
        },
    }  # fmt: skip
    (told,) = warnings(cluster, cron, "cronjobs", "batch", "warned")
    assert told.endswith("host namespaces (hostPID=true)")


def test_the_audited_level_is_noted_for_the_audit_log(cluster: Cluster) -> None:
    from kubernel.registry.request import Request, UserInfo

    cluster.create(namespace("audited", audit="restricted"))
    type = cluster.kernel.registry.lookup("", "v1", "pods")
    assert type is not None
    request = Request(UserInfo("jane"), "create", type, "audited", "a", obj=pod("a"))
    plugin: Any = cluster.kernel.plugin("admission", "pod_security")
    plugin.kubernel_validate(request)
    notes = request.notes["audit-annotations"]
    assert notes[f"{PREFIX}enforce-policy"] == "privileged:latest"
    assert notes[f"{PREFIX}audit-violations"].startswith('would violate PodSecurity "restricted:latest": ')
    assert request.warnings == []


def test_new_images_are_judged_and_other_updates_are_not(cluster: Cluster) -> None:
    cluster.create(namespace("late"))
    cluster.create(pod("a"), namespace="late")
    cluster.patch("namespaces", "late", {"metadata": {"labels": {f"{PREFIX}enforce": "restricted"}}})
    cluster.patch("pods", "a", {"metadata": {"labels": {"x": "y"}}}, "late")
    with pytest.raises(Forbidden, match="violates PodSecurity"):
        cluster.patch(
            "pods",
            "a",
            {"spec": {"containers": [{"name": "main", "image": "app:2"}]}},
            "late",
            type="strategic",
        )
    with pytest.raises(Forbidden, match="violates PodSecurity"):
        cluster.patch(
            "pods", "a",
            {"spec": {"ephemeralContainers": [{"name": "debug", "image": "x", "terminationMessagePolicy": "File"}]}},
            "late", type="strategic", subresource="ephemeralcontainers",
        )  # fmt: skip


def test_labels_that_say_nothing_known_are_refused(cluster: Cluster) -> None:
    with pytest.raises(Invalid) as refusal:
        cluster.create(namespace("odd", enforce="strict", warn_version="1.2"))
    assert refusal.value.message == (
        'Namespace "odd" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": '
        "must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: "
        'Invalid value: "1.2": must be "latest" or "v1.x"]'
    )


def namespace_warnings(cluster: Cluster, name: str, **labels: str) -> tuple[str, ...]:
    from kubernel.registry.operations import Result
    from kubernel.registry.request import UserInfo, WriteOptions

    registry = cluster.kernel.registry
    type = registry.lookup("", "v1", "namespaces")
    assert type is not None

    async def write() -> Result:
        return await registry.update(
            UserInfo("jane"), type, "", name, namespace(name, **labels), WriteOptions()
        )

    return cluster.run(write()).warnings


def test_a_namespace_that_becomes_stricter_is_told_which_pods_violate_it(cluster: Cluster) -> None:
    cluster.create(namespace("shop"))
    for name in ("c", "b", "a"):
        cluster.create(pod(name, hostNetwork=True), namespace="shop")
    made = pod("x", containers=[{"name": "m", "image": "x", "securityContext": {"privileged": True}}])
    cluster.create(made, namespace="shop")
    cluster.settle()
    assert namespace_warnings(cluster, "shop", enforce="baseline") == (
        'existing pods in namespace "shop" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 2 other pods): host namespaces",
        "x: privileged",
    )
    assert namespace_warnings(cluster, "shop", enforce="privileged") == ()


EXEMPT = {
    "admission": [
        "*",
        {
            "pod_security": {
                "defaults": {"enforce": "restricted", "warn": "baseline"},
                "exemptions": {
                    "usernames": ["trusted"], "namespaces": ["free"], "runtimeClasses": ["sandboxed"],
                },
            }
        },
    ]
}  # fmt: skip


def test_defaults_hold_without_labels_and_exemptions_are_not_looked_at() -> None:
    with Cluster(config={"plugins": EXEMPT}) as cluster:
        with pytest.raises(Forbidden, match='violates PodSecurity "restricted:latest"'):
            cluster.create(pod("a"))
        cluster.create(namespace("free"))
        cluster.create(pod("a"), namespace="free")
        assert namespace_warnings(cluster, "free", enforce="baseline", enforce_version="v1.20") == (
            'namespace "free" is exempt from Pod Security, and the policy (enforce=baseline:v1.20) will be ignored',
        )
        runtime_class = {
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "sandboxed"}, "handler": "x",
        }  # fmt: skip
        cluster.create(runtime_class)
        cluster.create(pod("b", runtimeClassName="sandboxed"))
        trusted = cluster.client("trusted", ("system:masters",))
        cluster.run(trusted.create("pods", pod("c"), "default"))
