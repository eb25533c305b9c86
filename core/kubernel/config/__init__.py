"""The cluster's configuration: one YAML file, checked strictly, or the embedded defaults.

``load(path)`` reads a file, ``parse(data)`` takes plain Python data, ``Configuration()`` is the defaults.
``settings(cls, choice)`` turns one plugin's section into its settings dataclass. Everything refused is
a ``ConfigError`` that names the file, the line and what to write instead.
"""

from kubernel.config.cluster import ClusterSettings, default_config_path, default_data_dir
from kubernel.config.configuration import (
    API_VERSION,
    DEFAULT_PLUGINS,
    DRIVER_ROLES,
    KIND,
    Choice,
    Configuration,
    load,
    parse,
    settings,
)
from kubernel.config.convert import Duration, camel_case, parse_duration

__all__ = [
    "API_VERSION",
    "DEFAULT_PLUGINS",
    "DRIVER_ROLES",
    "KIND",
    "Choice",
    "ClusterSettings",
    "Configuration",
    "Duration",
    "camel_case",
    "default_config_path",
    "default_data_dir",
    "load",
    "parse",
    "parse_duration",
    "settings",
]
