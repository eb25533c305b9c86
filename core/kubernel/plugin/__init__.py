"""The plugin system: markers, hook specifications, contracts, loader, manager, life cycle.

stevedore is used only in ``loader``, pluggy only in this package.
"""

from kubernel.plugin.contract import Handle, NoSettings, Plugin
from kubernel.plugin.markers import hookimpl

__all__ = ["Handle", "NoSettings", "Plugin", "hookimpl"]
