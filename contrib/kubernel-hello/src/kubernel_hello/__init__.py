"""A kubernel plugin to copy from. ``controller`` greets, ``command`` is ``kubernel hello``."""
