"""Storage backends: drivers of role ``store``."""
