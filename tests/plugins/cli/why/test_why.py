"""Situations that a user may find a cluster in, and what `kubernel why` says of them."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from workload_kit import PREFIX, deployment, pod, set_image, template, workload

from kubernel.errors import KubernelError, NotFound
from kubernel.objects import meta
from kubernel.testing import Cluster
from kubernel_plugins.cli.why.chain import explain
from kubernel_plugins.cli.why.commands import why

Obj = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster({"plugins": {"node": [{"simulated": {"nodes": 2, "cpu": "4"}}]}}) as made:
        yield made


def chain(cluster: Cluster, what: str, namespace: str = "default") -> list[str]:
    kind, _, name = what.partition("/")
    links = cluster.run(explain(cluster.client(), cluster.kernel.clock, kind, name, namespace))
    return [str(link) for link in links]


def name_of(cluster: Cluster, resource: str, **labels: str) -> str:
    text = ",".join(f"{key}={value}" for key, value in labels.items())
    return meta.name(cluster.list(resource, "default", labels=text)[0])


def says(cluster: Cluster, obj: Obj, reason: str, message: str) -> None:
    """An event, as a component would have written it."""
    about = {
        "kind": obj["kind"],
        "apiVersion": obj["apiVersion"],
        "name": meta.name(obj),
        "namespace": meta.namespace(obj),
        "uid": meta.uid(obj),
    }
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta.name(obj)}.{reason.lower()}"},
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "type": "Warning",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
    )


def waiting(cluster: Cluster, name: str, reason: str, message: str = "", **more: Any) -> None:
    entry = {"name": "main", "image": "app:1", "imageID": "", "ready": False, "restartCount": 0}
    entry |= {"state": {"waiting": {"reason": reason, "message": message}}, **more}
    status = {"phase": "Pending", "containerStatuses": [entry]}
    cluster.patch("pods", name, {"status": status}, subresource="status")


def stuck(script: dict[str, str] | None = None, **spec: Any) -> Any:
    return template({"app": "web"}, {"refuse": "ErrImagePull", **(script or {})}, **spec)


# --- pods


def test_a_pod_that_is_fine(cluster: Cluster) -> None:
    cluster.apply(pod("web"))
    assert chain(cluster, "pod/web") == ["Pod web is ready"]


def test_no_node_has_room(cluster: Cluster) -> None:
    big = {"resources": {"requests": {"cpu": "9"}}, "name": "main", "image": "x"}
    cluster.apply(pod("web", containers=[big]))
    first, second = chain(cluster, "pod/web")
    assert first == "Pod web has no node"
    assert second.startswith("the scheduler says: 0/2 nodes are available: 2 Insufficient cpu.")


def test_no_node_is_tolerated(cluster: Cluster) -> None:
    for number in (1, 2):
        taint = {"key": "team", "value": "a", "effect": "NoSchedule"}
        cluster.patch("nodes", f"node-{number}", {"spec": {"taints": [taint]}})
    cluster.apply(pod("web"))
    assert "untolerated taint" in chain(cluster, "pod/web")[1]


def test_a_scheduling_gate(cluster: Cluster) -> None:
    cluster.apply(pod("web", schedulingGates=[{"name": "acme.dev/quota"}]))
    assert chain(cluster, "pod/web") == [
        "Pod web has no node",
        "Pod web waits for the scheduling gate acme.dev/quota to be taken off",
    ]


def test_another_scheduler_that_does_not_run(cluster: Cluster) -> None:
    cluster.apply(pod("web", schedulerName="mine"))
    assert chain(cluster, "pod/web")[1] == "the scheduler mine has not looked at it yet"


def test_an_image_that_cannot_be_had(cluster: Cluster) -> None:
    cluster.apply(pod("web", script={"refuse": "ErrImagePull"}))
    waiting(cluster, "web", "ImagePullBackOff", "not found")
    assert chain(cluster, "pod/web") == [
        "Pod web has not started",
        'container main cannot get its image "app:1" (ImagePullBackOff: not found)',
    ]


def test_a_missing_config_map(cluster: Cluster) -> None:
    cluster.apply(pod("web", script={"refuse": "CreateContainerConfigError"}))
    waiting(cluster, "web", "CreateContainerConfigError", 'configmap "settings" not found')
    assert chain(cluster, "pod/web")[1] == (
        'container main cannot be started (CreateContainerConfigError: configmap "settings" not found)'
    )


def test_a_volume_that_cannot_be_mounted(cluster: Cluster) -> None:
    cluster.apply(pod("web", script={"refuse": "ContainerCreating"}))
    text = 'MountVolume.SetUp failed for volume "keys" : secret "keys" not found'
    says(cluster, cluster.get("pods", "web"), "FailedMount", text)
    assert chain(cluster, "pod/web")[1] == f"a volume cannot be mounted: {text}"


def test_a_crash_loop(cluster: Cluster) -> None:
    cluster.apply(pod("web", script={"run-for": "1s", "exit-code": "3"}))
    cluster.clock.advance("1m")
    assert chain(cluster, "pod/web") == [
        "Pod web is not ready",
        "container main keeps ending and is started again later: it ended with exit code 3",
    ]


def test_a_failing_probe(cluster: Cluster) -> None:
    cluster.apply(pod("web", script={"ready": "false"}))
    text = "Readiness probe failed: HTTP probe failed with statuscode: 500"
    says(cluster, cluster.get("pods", "web"), "Unhealthy", text)
    assert chain(cluster, "pod/web") == [
        "Pod web is not ready",
        f"container main runs, and its probe fails: {text}",
    ]


def test_a_container_that_ended_badly(cluster: Cluster) -> None:
    cluster.apply(pod("web", script={"run-for": "1s", "exit-code": "9"}, restartPolicy="Never"))
    cluster.clock.advance(5)
    assert chain(cluster, "pod/web") == ["Pod web has failed", "container main ended with exit code 9"]


def test_a_node_that_is_silent(cluster: Cluster) -> None:
    cluster.apply(pod("web"))
    node = cluster.get("pods", "web")["spec"]["nodeName"]
    with cluster.faults.outage("node", "simulated"):
        cluster.clock.advance("90s")
        assert chain(cluster, "pod/web")[0] == "Pod web is not ready"
        assert chain(cluster, "pod/web")[1].startswith(f"node {node} is not ready: ")
        assert chain(cluster, f"node/{node}")[1].startswith("its kubelet has been silent for 1m: ")


def test_a_pod_that_a_finalizer_holds(cluster: Cluster) -> None:
    made = pod("web")
    made["metadata"]["finalizers"] = ["acme.dev/backup"]
    cluster.apply(made)
    cluster.delete("pods", "web")
    cluster.clock.advance("2m")
    assert chain(cluster, "pod/web") == [
        "Pod web is being deleted; its time was up 2m ago",
        "Pod web is held by the finalizer acme.dev/backup, which nobody has taken off",
    ]


# --- claims


def using(name: str, claim: str) -> Any:
    return pod(name, volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": claim}}])


def claim(name: str = "data", **spec: Any) -> Obj:
    made = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    frame = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}}
    return {**frame, "spec": made}


def test_a_pod_without_its_claim(cluster: Cluster) -> None:
    cluster.apply(using("web", "data"))
    assert chain(cluster, "pod/web") == [
        "Pod web has no node",
        "PersistentVolumeClaim data does not exist",
    ]


def test_a_pod_whose_claim_has_no_volume(cluster: Cluster) -> None:
    cluster.apply([claim(storageClassName=""), using("web", "data")])
    assert chain(cluster, "pod/web") == [
        "Pod web has no node",
        "PersistentVolumeClaim data is not bound",
        "PersistentVolumeClaim data no volume that suits it is free, and it names no storage class",
    ]


def test_a_claim_whose_volume_is_not_there_or_is_somebody_elses(cluster: Cluster) -> None:
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "tape"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "nfs": {"server": "files", "path": "/"},
            "claimRef": {"namespace": "default", "name": "first"},
        },
    }
    cluster.apply(claim(storageClassName="", volumeName="tape"))
    assert chain(cluster, "pvc/data")[1:] == ["PersistentVolume tape does not exist"]
    cluster.apply(volume)
    cluster.clock.advance(1)
    assert chain(cluster, "pvc/data")[1:] == ["PersistentVolume tape is bound to the claim default/first"]


def test_a_claim_that_waits_for_a_pod(cluster: Cluster) -> None:
    cluster.apply(claim())
    assert chain(cluster, "pvc/data")[1] == (
        "StorageClass standard waits for a first pod that uses its claims (WaitForFirstConsumer)"
    )


def test_a_provisioner_that_does_not_run(cluster: Cluster) -> None:
    frame = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "disk"}}
    cluster.apply([{**frame, "provisioner": "acme.dev/disk"}, claim(storageClassName="disk")])
    assert chain(cluster, "pvc/data")[1] == (
        "the provisioner acme.dev/disk has not made a volume for it yet; does acme.dev/disk run?"
    )


def test_a_claim_that_a_pod_holds(cluster: Cluster) -> None:
    cluster.apply([claim(), using("web", "data")])
    cluster.delete("pvc", "data")
    cluster.clock.advance("3m")
    assert chain(cluster, "pvc/data") == [
        "PersistentVolumeClaim data has been on its way out for 3m",
        "Pod web still uses it",
    ]


# --- workloads


def test_a_deployment_that_is_complete(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=2))
    assert chain(cluster, "deploy/web") == ["Deployment web is complete: 2 replicas available"]


def test_a_quota_that_refuses_pods(cluster: Cluster) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    cluster.apply({**quota, "spec": {"hard": {"pods": "1"}}})
    cluster.apply(deployment(replicas=3))
    cluster.clock.advance(5)
    found = chain(cluster, "deploy/web")
    assert found[0] == "Deployment web has 1 of 3 replicas available, 1 up to date"
    assert found[-1].startswith("its pods cannot be created: ")
    assert "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1" in found[-1]


def test_a_rollout_whose_image_is_missing(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=1, pod_template=stuck()))
    name = name_of(cluster, "pods", app="web")
    waiting(cluster, name, "ErrImagePull", "no such image")
    assert chain(cluster, "deploy/web") == [
        "Deployment web has 0 of 1 replica available, 1 up to date",
        f"ReplicaSet {name.rpartition('-')[0]} has 0 of 1 replica available",
        f"Pod {name} has not started",
        'container main cannot get its image "app:1" (ErrImagePull: no such image)',
    ]


def test_a_paused_rollout(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=2))
    cluster.patch("deploy", "web", {"spec": {"paused": True}})
    set_image(cluster, "app:2")
    assert chain(cluster, "deploy/web")[-1] == (
        "Deployment web is paused: changes of its template wait for `kubectl rollout resume`"
    )


def test_a_controller_that_does_not_run(cluster: Cluster) -> None:
    with cluster.faults.outage("controller", "deployment"):
        cluster.apply(deployment())
        assert chain(cluster, "deploy/web")[-1] == (
            "its controller has not seen the newest change yet; does it run?"
        )


def stateful(script: dict[str, str], **spec: Any) -> Any:
    made = template({"app": "db"}, script)
    return workload("StatefulSet", "db", 3, pod_template=made, serviceName="db", **spec)


def test_a_stateful_set_that_waits_for_an_ordinal(cluster: Cluster) -> None:
    cluster.apply(stateful({}))
    cluster.clock.advance(5)
    cluster.patch("pods", "db-1", {"metadata": {"annotations": {f"{PREFIX}ready": "false"}}})
    cluster.clock.advance(5)
    assert chain(cluster, "sts/db") == [
        "StatefulSet db has 2 of 3 replicas available",
        "StatefulSet db waits for ordinal 1 before the 1 after it",
        "Pod db-1 is not ready",
        "container main runs and is not ready yet",
    ]


def test_a_daemon_set_that_suits_no_node(cluster: Cluster) -> None:
    made = template({"app": "agent"}, None, nodeSelector={"disk": "ssd"})
    agent = workload("DaemonSet", "agent", 1, pod_template=made)
    del agent["spec"]["replicas"]
    cluster.apply(agent)
    assert chain(cluster, "ds/agent")[1] == (
        "DaemonSet agent suits none of 2 nodes: its node selector, affinity or tolerations leave none"
    )


def job(**spec: Any) -> Any:
    script = {"run-for": "1s", "exit-code": "4"}
    made = template(None, script, restartPolicy="Never")
    frame = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"}}
    return {**frame, "spec": {"template": made, **spec}}


def test_a_job_that_gave_up(cluster: Cluster) -> None:
    cluster.apply(job(backoffLimit=1))
    cluster.clock.advance("2m")
    found = chain(cluster, "job/sum")
    assert found[0] == "Job sum has failed: Job has reached the specified backoff limit"
    assert found[-1] == "container main ended with exit code 4"


def test_a_job_that_waits_before_it_tries_again(cluster: Cluster) -> None:
    cluster.apply(job())
    cluster.clock.advance(3)
    found = chain(cluster, "job/sum")
    assert found[:2] == ["Job sum has 0 of 1 success", "Job sum waits before it tries again, after 1 failure"]


def test_a_suspended_job_and_cron_job(cluster: Cluster) -> None:
    cluster.apply(job(suspend=True))
    frame = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}}
    spec = {"schedule": "0 0 * * *", "suspend": True, "jobTemplate": {"spec": job()["spec"]}}
    cluster.apply({**frame, "spec": spec})
    assert chain(cluster, "job/sum")[1] == "Job sum is suspended (spec.suspend)"
    assert chain(cluster, "cj/nightly")[1] == "CronJob nightly is suspended (spec.suspend)"


def test_an_autoscaler_without_metrics(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=1))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    frame = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    cluster.apply({**frame, "spec": {"scaleTargetRef": target, "maxReplicas": 3}})
    assert "unable to fetch metrics from resource metrics API" in chain(cluster, "hpa/web")[1]


# --- the rest


def service(**spec: Any) -> Any:
    frame = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    return {**frame, "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}, **spec}}


def test_a_service_that_selects_nothing(cluster: Cluster) -> None:
    cluster.apply(service())
    assert chain(cluster, "svc/web") == [
        "Service web has no ready endpoints",
        "its selector app=web matches no pod",
    ]


def test_a_service_whose_pods_are_not_ready(cluster: Cluster) -> None:
    cluster.apply([service(), pod("one", {"app": "web"}, {"ready": "false"})])
    assert chain(cluster, "svc/web")[1:] == [
        "Pod one is not ready",
        "container main runs and is not ready yet",
    ]


def test_a_load_balancer_of_a_class_that_nobody_serves(cluster: Cluster) -> None:
    cluster.apply(service(type="LoadBalancer", loadBalancerClass="acme.dev/lb"))
    assert chain(cluster, "svc/web")[1] == (
        "the load balancer class acme.dev/lb has not given it an address yet"
    )


def test_a_cordoned_node(cluster: Cluster) -> None:
    cluster.patch("nodes", "node-1", {"spec": {"unschedulable": True}})
    assert chain(cluster, "node/node-1")[1] == "Node node-1 is cordoned (`kubectl uncordon` ends it)"


def test_a_namespace_that_an_object_keeps(cluster: Cluster) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "old"}})
    kept = {"name": "kept", "namespace": "old", "finalizers": ["acme.dev/backup"]}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept})
    cluster.delete("namespaces", "old")
    cluster.clock.advance("1m")
    found = chain(cluster, "ns/old")
    assert found[0] == "Namespace old has been on its way out for 1m"
    assert "acme.dev/backup" in found[1]


def test_a_namespace_that_waits_for_its_pods(cluster: Cluster) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "old"}})
    kept = pod("kept")
    kept["metadata"] |= {"namespace": "old", "finalizers": ["acme.dev/backup"]}
    cluster.apply(kept)
    cluster.delete("namespaces", "old")
    cluster.clock.advance("1m")
    assert chain(cluster, "ns/old")[1:] == [
        "1 pod must be gone first",
        "Pod kept is held by the finalizer acme.dev/backup",
    ]


def test_a_service_whose_pod_is_on_a_node_that_is_gone(cluster_factory: Callable[..., Cluster]) -> None:
    plugins = {"node": None, "controller": ["*", "-podgc", "-nodelifecycle"]}
    cluster = cluster_factory(config={"plugins": plugins})
    cluster.apply(service())
    cluster.create(pod("one", {"app": "web"}, nodeName="gone"))
    status = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
    }
    cluster.patch("pods", "one", {"status": status}, subresource="status")
    cluster.clock.advance(1)
    assert chain(cluster, "svc/web")[-1] == (
        "the endpointslice controller says: Error updating Endpoint Slices for Service default/web: "
        "skipping Pod one for Service default/web: Node gone Not Found"
    )


def test_a_disruption_budget_that_leaves_no_room(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=2))
    frame = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}}
    cluster.apply({**frame, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}})
    assert chain(cluster, "pdb/web")[1] == (
        "PodDisruptionBudget web needs all 2 of its pods: minAvailable or maxUnavailable leaves no room"
    )


def test_a_certificate_request_that_nobody_approved(cluster: Cluster) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = asked.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    request = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": request, "signerName": "acme.dev/signer", "usages": ["client auth"]}
    frame = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    cluster.create({**frame, "metadata": {"name": "jane"}, "spec": spec})
    assert chain(cluster, "csr/jane")[1].endswith("waits for approval (`kubectl certificate approve jane`)")


def test_an_object_of_any_kind_is_asked_what_it_says_itself(cluster: Cluster) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}})
    assert chain(cluster, "cm/plain") == ["ConfigMap plain says of nothing that it is wrong"]


# --- the command


def run(cluster: Cluster, what: str, output: str = "text") -> int:
    args = argparse.Namespace(object=what, namespace="default", output=output)
    return cluster.run(why(cluster.client(), cluster.kernel.clock, args))


def test_it_prints_each_cause_below_what_it_causes(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.apply(pod("web", schedulingGates=[{"name": "acme.dev/quota"}]))
    assert run(cluster, "pod/web") == 1
    assert capsys.readouterr().out == (
        "Pod web has no node\n"
        "  because Pod web waits for the scheduling gate acme.dev/quota to be taken off\n"
    )
    cluster.apply(pod("good"))
    assert run(cluster, "pod/good", "json") == 0
    assert '"fine": true' in capsys.readouterr().out


def test_what_is_not_there_or_not_understood_is_refused(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match='pods "nobody" not found'):
        run(cluster, "pod/nobody")
    with pytest.raises(KubernelError, match='the cluster has no kind "rocket"'):
        run(cluster, "rocket/x")
    with pytest.raises(KubernelError, match="write KIND/NAME"):
        run(cluster, "web")
