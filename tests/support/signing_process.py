"""A key in a process of its own, which signs digests: all that an HSM is to the client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from client.closing import Closing

_PROGRAM = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
key = serialization.load_pem_private_key(Path(sys.argv[1]).read_bytes(), None)
for line in sys.stdin:
    digest = bytes.fromhex(line.strip())
    print(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))).hex(), flush=True)
"""


class SigningProcess(Closing):
    """Signs with the private key of an identity's folder, which this process never reads."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, folder / "private_key.pem"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def sign(self, digest: bytes) -> bytes:
        """The DER signature of a SHA-256 digest."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(digest.hex() + "\n")
        self._process.stdin.flush()
        return bytes.fromhex(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
