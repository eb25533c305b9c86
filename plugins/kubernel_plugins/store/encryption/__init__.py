"""Encryption at rest: an EncryptionConfiguration, and a backend that encrypts what it says before another keeps it.

Any store driver may wrap its backend in ``EncryptedBackend``; resources that no entry names pass as they are.
"""

from kubernel_plugins.store.encryption.backend import EncryptedBackend
from kubernel_plugins.store.encryption.configuration import Encryption, generate

__all__ = ["EncryptedBackend", "Encryption", "generate"]
