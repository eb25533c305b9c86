"""Containers that are only records: thousands of pods without a process."""

from kubernel_plugins.runtime.simulated.runtime import Plugin, Settings

__all__ = ["Plugin", "Settings"]
