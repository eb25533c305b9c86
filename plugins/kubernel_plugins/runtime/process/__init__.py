"""Containers as processes of the host, without root."""

from kubernel_plugins.runtime.process.runtime import Plugin, Settings

__all__ = ["Plugin", "Settings"]
