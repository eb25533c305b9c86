"""Many nodes in one plugin, whose pods are only statuses."""

from kubernel_plugins.node.simulated.plugin import Plugin, Settings

__all__ = ["Plugin", "Settings"]
