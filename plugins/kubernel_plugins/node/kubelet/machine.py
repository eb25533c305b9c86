"""What the machine is and holds, as a Node reports it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["busy_seconds", "capacity", "memory_in_use", "node_info"]

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def architecture() -> str:
    """GOARCH of this machine: the label ``kubernetes.io/arch``."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _meminfo(field: str) -> int:
    """Bytes; 0 where the system does not say."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def _memory() -> int:
    return _meminfo("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_in_use() -> int:
    """Bytes that could not be had without taking them from somebody."""
    return max(_memory() - _meminfo("MemAvailable"), 0)


def busy_seconds() -> float:
    """CPU seconds that all processors have worked since boot (proc(5), ``stat``)."""
    first, *fields = _read("/proc/stat").partition("\n")[0].split() or [""]
    if first != "cpu" or len(fields) < 8:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def capacity(directory: Path, max_pods: int) -> dict[str, str]:
    """cpu, memory, pods and ephemeral-storage (of the file system below ``directory``) as quantities."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    disk = os.statvfs(directory)
    return {
        "cpu": str(cpus),
        "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
        "memory": f"{_memory() // 1024}Ki",
        "pods": str(max_pods),
    }


def node_info(runtime_version: str, kubelet_version: str) -> dict[str, Any]:
    """``status.nodeInfo``."""
    release = {}
    for line in _read("/etc/os-release").splitlines():
        key, _, value = line.partition("=")
        release[key] = value.strip('"')
    machine_id = _read("/etc/machine-id")
    return {
        "architecture": architecture(),
        "bootID": _read("/proc/sys/kernel/random/boot_id"),
        "containerRuntimeVersion": runtime_version,
        "kernelVersion": platform.release(),
        "kubeProxyVersion": "",
        "kubeletVersion": kubelet_version,
        "machineID": machine_id,
        "operatingSystem": platform.system().lower(),
        "osImage": release.get("PRETTY_NAME", platform.system()),
        "systemUUID": machine_id,
    }
