"""Everything built in. Each plugin lives in ``<role>/<name>`` and meets the others only through
objects in the API, a hook or a contract of ``kubernel``."""
