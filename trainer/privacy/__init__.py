"""Encryption that nobody can undo alone."""

from trainer.privacy.dealing import KeySecret
from trainer.privacy.threshold import CollectiveKey, Scheme, ShareKey

__all__ = ["CollectiveKey", "KeySecret", "Scheme", "ShareKey"]
