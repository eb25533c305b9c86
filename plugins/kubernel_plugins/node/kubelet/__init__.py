"""The node agent: real pods on this machine through the runtime driver."""

from kubernel_plugins.node.kubelet.kubelet import Plugin, Settings

__all__ = ["Plugin", "Settings"]
