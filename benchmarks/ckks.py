"""Our threshold scheme beside NVIDIA FLARE's published CKKS parameters, through the same TenSEAL.

Peer: polynomial degree 8192, moduli [60, 40, 40], scale 2^40, values in slots, public-key
encryption, one shared secret key (as in FLARE's tutorial on homomorphic encryption). Sizes and
times per million parameters, one core.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARAMETERS = 200_000
RUNS = 3
HOSPITALS = 4
_PER_MILLION = 1_000_000 / PARAMETERS
_PEER = "NVIDIA FLARE's parameters"


def rows() -> list[dict[str, Any]]:
    """Measure both, side by side, and compare."""
    generator = np.random.default_rng(1)
    values = [generator.normal(0, 0.1, PARAMETERS) for _ in range(HOSPITALS)]
    ours, theirs = _ours(values), _theirs(values)
    units = {
        "encrypted bytes per parameter": "bytes",
        "encrypt": "s per 1M parameters",
        "add, per client": "s per 1M parameters",
        "decrypt (combine shares; peer: by secret key)": "s per 1M parameters",
        "largest error of the mean": "absolute",
    }
    measured = [_row(what, unit, ours[what], theirs[what]) for what, unit in units.items()]
    alone = "decryption share, per hospital"
    return [*measured, _row(alone, "s per 1M parameters", ours[alone], None)]


def _row(what: str, unit: str, ours: float, peer: float | None) -> dict[str, Any]:
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": _PEER if peer is not None else "",
        "unit": unit,
        "ratio": None if peer is None else ours / peer,
        "better": "lower",
        "aim": "",
        "runs": RUNS,
    }


def _ours(values: list[NDArray[np.float64]]) -> dict[str, float]:
    from chaincode.schema.encryption import EncryptionTerms
    from trainer.privacy import Scheme

    scheme = Scheme(EncryptionTerms(), b"b" * 32)
    secrets = [scheme.generate_secret() for _ in values]
    key = scheme.collective_key([scheme.public_share(secret) for secret in secrets])
    updates = [scheme.encrypt(value, key) for value in values]
    weighted = [(update, 100) for update in updates]
    total = scheme.weighted_sum(weighted, PARAMETERS)
    shares = [scheme.decryption_share(secret, total, PARAMETERS) for secret in secrets]
    mean = scheme.decode_mean(total, shares, PARAMETERS, 100 * HOSPITALS)
    return {
        "encrypted bytes per parameter": len(updates[0]) / PARAMETERS,
        "encrypt": _timed(lambda: scheme.encrypt(values[0], key)),
        "add, per client": _timed(lambda: scheme.weighted_sum(weighted, PARAMETERS)) / HOSPITALS,
        "decryption share, per hospital": _timed(
            lambda: scheme.decryption_share(secrets[0], total, PARAMETERS)
        ),
        "decrypt (combine shares; peer: by secret key)": _timed(
            lambda: scheme.decode_mean(total, shares, PARAMETERS, 100 * HOSPITALS)
        ),
        "largest error of the mean": float(np.abs(mean - np.mean(values, axis=0)).max()),
    }


def _theirs(values: list[NDArray[np.float64]]) -> dict[str, float]:
    import tenseal as ts

    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
    context.global_scale = 2**40
    slots = 4096

    def encrypt(value: NDArray[np.float64]) -> list[Any]:
        parts = [value[first : first + slots] for first in range(0, value.size, slots)]
        return [ts.ckks_vector(context, part) for part in parts]

    def add(first: list[Any], second: list[Any]) -> list[Any]:
        return [a + b for a, b in zip(first, second, strict=True)]

    def decrypt(vectors: list[Any]) -> NDArray[np.float64]:
        return np.concatenate([vector.decrypt() for vector in vectors])

    encrypted = [encrypt(value) for value in values]
    total = encrypted[0]
    for other in encrypted[1:]:
        total = add(total, other)
    mean = decrypt(total) / HOSPITALS
    size = sum(len(vector.serialize()) for vector in encrypted[0])
    return {
        "encrypted bytes per parameter": size / PARAMETERS,
        "encrypt": _timed(lambda: encrypt(values[0])),
        "add, per client": _timed(lambda: add(encrypted[0], encrypted[1])),
        "decrypt (combine shares; peer: by secret key)": _timed(lambda: decrypt(total)),
        "largest error of the mean": float(np.abs(mean - np.mean(values, axis=0)).max()),
    }


def _timed(work: Callable[[], object]) -> float:
    """Median seconds, scaled to a million parameters."""
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * _PER_MILLION
