"""kubernel: Kubernetes as a plugin microkernel."""

__version__ = "0.1.0"
