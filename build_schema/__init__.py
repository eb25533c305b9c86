"""Compiles the Kubernetes OpenAPI definitions into kubernel's schema data, at build time."""
