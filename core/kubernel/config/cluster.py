"""What is true of the cluster as a whole."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ClusterSettings", "default_config_path", "default_data_dir", "default_node_name"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VERSION = re.compile(r"v1\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")


def default_data_dir(name: str) -> Path:
    """``$XDG_DATA_HOME/kubernel/NAME``; relative values of the variable are ignored, as XDG says."""
    base = os.environ.get("XDG_DATA_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return root / "kubernel" / name


def default_config_path() -> Path:
    """``$XDG_CONFIG_HOME/kubernel/config.yaml``: read when it exists and no other file is named."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".config"
    return root / "kubernel" / "config.yaml"


def default_node_name() -> str:
    """The host's name as a DNS-1123 subdomain."""
    lowered = re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower())[:253]
    labels = [label.strip("-")[:63].strip("-") for label in lowered.split(".")]
    return ".".join(label for label in labels if label) or "localhost"


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The section ``cluster`` of the configuration.

    ``data_dir`` empty is the XDG default for ``name``; ``directory`` is what counts. ``port`` 0 takes a
    free one. ``pod_cidr`` and ``service_cidr`` lie in 127.0.0.0/8 by default so that every process and
    every service on the host can be reached at an address of its own without root.
    ``kubernetes_version`` is what the cluster implements and reports. ``leader_election`` makes
    controllers and scheduler act only while they hold their lease: for several processes on one store.
    """

    name: str = "kubernel"
    data_dir: Path = Path()
    bind_address: str = "127.0.0.1"
    port: int = 6443
    pod_cidr: str = "127.64.0.0/12"
    service_cidr: str = "127.96.0.0/16"
    cluster_domain: str = "cluster.local"
    node_name: str = field(default_factory=default_node_name)
    kubernetes_version: str = "v1.37.0"
    leader_election: bool = False

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.name):
            raise ValueError(
                f'name: "{self.name}" must be 1 to 63 lower-case letters, digits or "-", no "-" at its ends'
            )
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is not between 0 (any free port) and 65535")
        for key, value in (("clusterDomain", self.cluster_domain), ("nodeName", self.node_name)):
            if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
                raise ValueError(f'{key}: "{value}" is not a lower-case DNS name')
        if not _VERSION.fullmatch(self.kubernetes_version):
            raise ValueError(f'kubernetesVersion: "{self.kubernetes_version}" is not of the form v1.37.0')
        self._check_addresses()
        if self.data_dir == Path():
            object.__setattr__(self, "data_dir", default_data_dir(self.name))

    def _check_addresses(self) -> None:
        # ipaddress costs a millisecond of the start: the defaults are known to be right.
        if (self.bind_address, self.pod_cidr, self.service_cidr) == _DEFAULT_ADDRESSES:
            return
        import ipaddress

        try:
            ipaddress.ip_address(self.bind_address)
        except ValueError as error:
            raise ValueError(f'bindAddress: "{self.bind_address}" is not an IP address') from error
        networks = []
        for key, value in (("podCIDR", self.pod_cidr), ("serviceCIDR", self.service_cidr)):
            try:
                networks.append(ipaddress.ip_network(value))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
        if networks[0].version == networks[1].version and networks[0].overlaps(networks[1]):
            raise ValueError(f"serviceCIDR: {self.service_cidr} overlaps podCIDR {self.pod_cidr}")


_DEFAULT_ADDRESSES = ("127.0.0.1", "127.64.0.0/12", "127.96.0.0/16")
