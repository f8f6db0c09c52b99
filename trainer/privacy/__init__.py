"""Encryption that nobody can undo alone."""

from trainer.privacy.threshold import CollectiveKey, Scheme, SecretShare

__all__ = ["CollectiveKey", "Scheme", "SecretShare"]
