"""Our threshold scheme beside NVIDIA FLARE's published CKKS parameters, through the same TenSEAL.

Peer: polynomial degree 8192, moduli [60, 40, 40], scale 2^40, values in slots, public-key
encryption, one shared secret key (as in FLARE's tutorial on homomorphic encryption). Sizes and
processor time per million parameters, one core; the runs of both alternate, the fastest counts.
Ours: terms chosen for 64 hospitals and an error of 5e-6 of the clip, and coarser ones. An update is
masked values, the encrypted key of their mask and the proof that this was made by the rules. The
proof's making and checking are counted where they happen: encrypting, and reading to add. Additive
secret sharing, of 16 nodes, stands beside it, and updates whose proof ties masked values to the
encrypted key beside those whose does not; and the statistics of encrypted records beside numpy's of
plain ones.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import studies
from chaincode.schema import masking
from chaincode.schema.encryption import Workload, choose
from trainer.privacy import CollectiveKey, KeySecret, Scheme
from trainer.privacy.kahe import weighted_sum
from trainer.privacy.masking import Masker, MaskSecrets
from trainer.privacy.ring import Residues
from trainer.privacy.wire import Kind

PARAMETERS = 128 * 8192
RUNS = 5
HOSPITALS = 64
MANY = 4096
MASKED = 16
"""Nodes of a masked round."""
MASK_WEIGHT = 64
ADDED = 8
"""Clients whose ciphertexts are added; the times are per client."""
LARGE = (10_000_000, 100_000_000)
COARSER = (1e-3, 4e-2)
MASKED_ERRORS = (5e-6, 1e-3, 4e-3)
TIED = (62, 3_500_000)
"""Parameters of updates whose masked values are proven to open under their key."""
SENDER = b"a node, in a round"
_PER_MILLION = 1_000_000 / PARAMETERS
_PEER = "NVIDIA FLARE's parameters"
Values = NDArray[np.float64]


def rows() -> list[dict[str, Any]]:
    """Measure both, side by side, and compare."""
    generator = np.random.default_rng(1)
    values = generator.normal(0, 0.1, PARAMETERS)
    ours, theirs = _Ours(PARAMETERS), _Theirs(values)
    sides = [
        ("encrypted bytes per parameter", "bytes", "0.42", ours.bytes, theirs.bytes),
        ("pack and encrypt", _SECONDS, "0.6", *_timed(ours.encrypt, theirs.encrypt)),
        ("add, per client", _SECONDS, "0.5", *_per_client(_timed(ours.add, theirs.add))),
        (
            "decrypt (combine shares; peer: by secret key)",
            _SECONDS,
            "",
            *_timed(ours.combine, theirs.decrypt),
        ),
    ]
    rows = [_row(*side) for side in sides]
    alone = {
        "decryption share, per hospital": ours.share,
        "read, add and write an update": ours.sum_files,
    }
    for what, work in alone.items():
        rows.append(_row(what, _SECONDS, "", _timed(work, work)[0], None))
    for error in COARSER:
        rows += _coarser_rows(_Ours(PARAMETERS, error), theirs)
    for masked in (_Masked(error) for error in MASKED_ERRORS):
        rows += _masked_rows(masked, ours)
    for parameters in TIED:
        rows += _tied_rows(parameters)
    many = [generator.normal(0, 0.1, MANY) for _ in range(HOSPITALS)]
    what = f"largest error of the mean over its largest value, {HOSPITALS} hospitals"
    rows.append(_row(what, "relative", "", _our_error(many), _their_error(many)))
    small, large = (_peak_megabytes(parameters) for parameters in LARGE)
    row = _row("peak memory, all steps, 100M parameters", "MB", "1.2", large, small)
    rows.append(row | {"peer_name": "ours at 10M parameters", "runs": 1})
    return [*rows, *studies.costs()]


_SECONDS = "s per 1M parameters"


def _coarser_rows(coarser: _Ours, theirs: _Theirs) -> list[dict[str, Any]]:
    name = f"{coarser.mask_bits} bits to a value"
    encrypt, add = (_seconds(work) * _PER_MILLION for work in (coarser.encrypt, coarser.add))
    return [
        _row(f"{name}: bytes per parameter", "bytes", "0.42", coarser.bytes, theirs.bytes),
        _row(f"{name}: pack and encrypt", _SECONDS, "", encrypt, None),
        _row(f"{name}: add, per client", _SECONDS, "", add / ADDED, None),
        _row(f"{name}: largest error of the mean", "absolute", "", coarser.largest_error(), None),
    ]


def _tied_rows(parameters: int) -> list[dict[str, Any]]:
    sides = [_Ours(parameters, tied=tied) for tied in (True, False)]
    name = f"tied to their key, {parameters} values"
    figures = {
        ("an update", "MB"): [side.bytes * parameters / 1e6 for side in sides],
        ("encrypt and prove", "s"): [_seconds(side.encrypt) for side in sides],
        ("check, before adding", "s"): [_seconds(side.check) for side in sides],
    }
    return [
        _row(f"{name}: {what}", unit, "", *pair) | {"peer_name": "ours, not tied"}
        for (what, unit), pair in figures.items()
    ]


def _row(what: str, unit: str, aim: str, ours: float, peer: float | None) -> dict[str, Any]:
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": _PEER if peer is not None else "",
        "unit": unit,
        "ratio": None if peer is None else ours / peer,
        "better": "lower",
        "aim": f"ratio at most {aim}" if aim else "",
        "runs": RUNS,
    }


def _scheme(hospitals: int, parameters: int) -> Scheme:
    work = Workload(hospitals, hospitals, parameters, 1)
    terms = choose(work, clip_micro=1_000_000, error_nano=5_000)
    return Scheme(terms, work, b"b" * 32)


def _key(scheme: Scheme, secrets: list[KeySecret]) -> CollectiveKey:
    return scheme.collective_key([scheme.dealing.make(s, i) for i, s in enumerate(secrets, 1)])


def _masked_rows(masked: _Masked, ours: _Ours) -> list[dict[str, Any]]:
    name = f"secret sharing of {MASKED} nodes, error {masked.error:.0e}"
    by_ckks = {"peer_name": "ours, threshold CKKS"}
    added, encrypted = _timed(masked.add, ours.sum_files)
    sides = [
        ("bytes per parameter", "bytes", masked.bytes, ours.bytes),
        ("mask", _SECONDS, *_timed(masked.mask, ours.encrypt)),
        ("read, add and write an update", _SECONDS, added / ADDED, encrypted),
        ("unmask, none dropped", _SECONDS, *_timed(masked.unmask, ours.combine)),
    ]
    rows = [_row(f"{name}: {what}", unit, "", *pair) | by_ckks for what, unit, *pair in sides]
    dropped = _timed(masked.unmask_without_one, masked.unmask_without_one)[0]
    rows.append(_row(f"{name}: unmask, one dropped", _SECONDS, "", dropped, None))
    what = f"{name}: largest error of the mean"
    return [*rows, _row(what, "absolute", "", masked.largest_error(), None)]


class _Masked:
    """One round of as many nodes, one of a hospital each."""

    def __init__(self, error: float) -> None:
        self.error = error
        work = Workload(MASKED, MASKED, PARAMETERS, 1)
        terms = masking.choose(
            work,
            clip_micro=1_000_000,
            error_nano=round(error * 1e9),
            threshold=MASKED // 2 + 1,
        )
        context = masking.round_context("b" * 64, 1)
        self._secrets = [MaskSecrets(os.urandom(32), context) for _ in range(MASKED)]
        mask_keys = [secrets.mask_key.public_hex for secrets in self._secrets]
        self._masker = Masker(terms, PARAMETERS, context, mask_keys)
        generator = np.random.default_rng(1)
        self._values = [generator.normal(0, 0.1, PARAMETERS) for _ in range(MASKED)]
        self._updates = [self._update(place) for place in range(MASKED)]
        self._total, self._less = self._sum(self._updates), self._sum(self._updates[1:])
        self.bytes = len(self._updates[0]) / PARAMETERS
        self.mask = partial(self._update, 0)

    def _update(self, place: int) -> bytes:
        values, secrets = self._values[place], self._secrets[place]
        return b"".join(self._masker.mask(values, MASK_WEIGHT, secrets, place))

    def _sum(self, updates: list[bytes]) -> bytes:
        return b"".join(self._masker.add([io.BytesIO(update) for update in updates]))

    def add(self) -> bytes:
        return self._sum(self._updates[:ADDED])

    def unmask(self) -> list[Values]:
        own = [secrets.own for secrets in self._secrets]
        weight = MASK_WEIGHT * MASKED
        return list(self._masker.unmask(io.BytesIO(self._total), own, {}, weight))

    def unmask_without_one(self) -> list[Values]:
        own = [secrets.own for secrets in self._secrets[1:]]
        dropped = {0: self._secrets[0].mask_key}
        weight = MASK_WEIGHT * (MASKED - 1)
        return list(self._masker.unmask(io.BytesIO(self._less), own, dropped, weight))

    def largest_error(self) -> float:
        return float(np.abs(np.concatenate(self.unmask()) - np.mean(self._values, axis=0)).max())


class _Ours:
    """Two hospitals' keys under the terms of 64: the work per hospital is the same."""

    def __init__(self, parameters: int, error: float = 5e-6, *, tied: bool = False) -> None:
        work = Workload(HOSPITALS, HOSPITALS, parameters, 1)
        terms = choose(work, clip_micro=1_000_000, error_nano=round(error * 1e9), tied=tied)
        self.mask_bits = terms.mask_bits
        self._scheme = Scheme(terms, Workload(2, 2, parameters, 1), b"b" * 32)
        secrets = [KeySecret(os.urandom(32)) for _ in range(2)]
        self._key = _key(self._scheme, secrets)
        self._values = np.random.default_rng(1).normal(0, 0.1, parameters)
        self._update = self.encrypt()
        self.bytes = len(self._update) / parameters
        self._share_keys = [self._scheme.own_share_key(s, i) for i, s in enumerate(secrets, 1)]
        self._sum = self.sum_files()
        self._shares = [self._share(0), self._share(1)]
        self._residues: list[Residues] = list(self._read())
        self.share = partial(self._share, 0)

    def largest_error(self) -> float:
        """Of the decrypted values, in their own unit."""
        return float(np.abs(np.concatenate(self.combine()) - self._values).max())

    def encrypt(self) -> bytes:
        return b"".join(self._scheme.encrypt(self._values, self._key, SENDER))

    def _read(self) -> Iterator[Residues]:
        return self._scheme.update_form(SENDER, self._key).read(io.BytesIO(self._update))

    def check(self) -> None:
        """Read the update as one that was not seen before."""
        self._scheme.update_form(SENDER, self._key).proven.clear()
        for _ in self._read():
            pass

    def add(self) -> list[Residues]:
        """The sum of clients' residues in memory, as the peer's ciphertexts are."""
        weights = [10] * ADDED
        kinds = (Kind.CIPHERTEXT, *(Kind.MASKED for _ in self._residues[1:]))
        return [
            weighted_sum([part] * ADDED, weights, np.array(self._scheme.form(kind).primes)[:, None])
            for kind, part in zip(kinds, self._residues, strict=True)
        ]

    def sum_files(self) -> bytes:
        update = (io.BytesIO(self._update), SENDER, 1)
        return b"".join(self._scheme.weighted_sum([update], self._key))

    def _share(self, number: int) -> bytes:
        aggregate = io.BytesIO(self._sum)
        return self._scheme.decryption_share(self._share_keys[number], aggregate, (1, 2))

    def combine(self) -> list[Values]:
        return list(self._scheme.decode_mean(io.BytesIO(self._sum), self._shares, 1))


class _Theirs:
    def __init__(self, values: Values) -> None:
        import tenseal as ts

        self._library = ts
        self._context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
        self._context.global_scale = 2**40
        self._values = values
        self._update = self.encrypt()
        size = sum(len(vector.serialize()) for vector in self._update)
        self.bytes = size / values.size

    def encrypt(self) -> list[Any]:
        parts = [self._values[first : first + 4096] for first in range(0, self._values.size, 4096)]
        return [self._library.ckks_vector(self._context, part) for part in parts]

    def add(self) -> list[Any]:
        return [sum([one] * (ADDED - 1), one) for one in self._update]

    def add_all(self, others: list[Values]) -> Values:
        """The decrypted sum of further values."""
        total = self._library.ckks_vector(self._context, others[0])
        for other in others[1:]:
            total += self._library.ckks_vector(self._context, other)
        return np.array(total.decrypt())

    def decrypt(self) -> list[Any]:
        return [vector.decrypt() for vector in self._update]


def _our_error(values: list[Values]) -> float:
    scheme = _scheme(HOSPITALS, MANY)
    secrets = [KeySecret(os.urandom(32)) for _ in values]
    key = _key(scheme, secrets)
    updates = [io.BytesIO(b"".join(scheme.encrypt(value, key, SENDER))) for value in values]
    content = b"".join(scheme.weighted_sum([(update, SENDER, 16) for update in updates], key))
    points = range(1, HOSPITALS + 1)
    shares = [
        scheme.decryption_share(scheme.own_share_key(secret, point), io.BytesIO(content), points)
        for point, secret in zip(points, secrets, strict=True)
    ]
    (mean,) = scheme.decode_mean(io.BytesIO(content), shares, 16 * HOSPITALS)
    return _error(mean, values)


def _their_error(values: list[Values]) -> float:
    return _error(_Theirs(values[0]).add_all(values) / HOSPITALS, values)


def _error(mean: Values, values: list[Values]) -> float:
    exact = np.mean(values, axis=0)
    return float(np.abs(mean - exact).max() / np.abs(exact).max())


def _timed(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds of each at its fastest, scaled to a million parameters."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for work, taken in zip((ours, theirs), seconds, strict=True):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
    return tuple(min(taken) * _PER_MILLION for taken in seconds)  # type: ignore[return-value]


def _seconds(work: Callable[[], object]) -> float:
    """Processor seconds at its fastest."""
    taken = []
    for _ in range(RUNS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def _per_client(seconds: tuple[float, float]) -> tuple[float, float]:
    return seconds[0] / ADDED, seconds[1] / ADDED


def _peak_megabytes(parameters: int) -> float:
    """Of a process that encrypts, adds, shares and decodes, from file to file."""
    command = [sys.executable, "-c", "from benchmarks import privacy; privacy.stream()"]
    done = subprocess.run(
        [*command, str(parameters)], check=True, capture_output=True, cwd=Path(__file__).parents[1]
    )
    return float(json.loads(done.stdout))


def stream() -> None:
    """All steps for as many parameters as the command line says; prints the peak memory in MB."""
    parameters = int(sys.argv[1])
    scheme = _scheme(2, parameters)
    secrets = [KeySecret(os.urandom(32)) for _ in range(2)]
    key = _key(scheme, secrets)
    values = np.broadcast_to(np.float64(0.25), parameters)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder / "update", scheme.encrypt(values, key, SENDER))
        with (folder / "update").open("rb") as update:
            _write(folder / "sum", scheme.weighted_sum([(update, SENDER, 1000)], key))
        (folder / "update").unlink()
        with (folder / "sum").open("rb") as total:
            shares = [
                scheme.decryption_share(scheme.own_share_key(secret, point), total, (1, 2))
                for point, secret in enumerate(secrets, 1)
            ]
            worst = max(
                float(np.abs(chunk - 0.25).max())
                for chunk in scheme.decode_mean(total, shares, 1000)
            )
    if worst > 1e-5:
        raise SystemExit(f"off by {worst}")
    # Not by getrusage: its maximum outlives exec, and so would be the parent's.
    status = Path("/proc/self/status").read_text()
    print(json.dumps(int(status.split("VmHWM:")[1].split()[0]) / 1024))


def _write(path: Path, chunks: Any) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
