"""Additive secret sharing: updates under masks that cancel in the sum of all.

Bonawitz et al. 2017 ("Practical Secure Aggregation for Privacy-Preserving Machine Learning"), with
who is in the sum told by the ledger: the sealed set is the same to everybody, which is what the
consistency check of that paper, and Bell et al. 2020 ("Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead"), ask for. The key under which shares travel is not the one that may be
recovered. Shares go to the plan's hospitals, whose validators stay when nodes do not.

Node u's update is y_u = w_u x_u + G(b_u) + sum over v > u of G(s_uv) - sum over v < u of G(s_uv)
modulo 2^(8 width): x_u whole multiples of clip / levels, w_u its weight, G AES-256 in counter mode,
s_uv agreed by ECDH on P-256 from keys on the ledger, b_u its own. The key behind all s_uv, and b_u,
are shared by Shamir's scheme over the order of P-256 among the hospitals. Of a node whose update is
in the sum they recover b_u; of one that dropped out its key, and so the s_uv that did not cancel.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import SHARE_BYTES, MaskingTerms
from trainer.privacy.quantised import check_sums, mean, whole
from trainer.privacy.sampling import Stream, derived
from trainer.privacy.transport import ORDER, TransportKey
from trainer.privacy.wire import Integers, narrowed, widened

_HEADER = struct.Struct("<4sBBxxQ32s")
_MAGIC = b"MFS1"
_PIECE = 1 << 16


@dataclass(frozen=True)
class MaskedForm:
    """Canonical bytes of a masked update, or of the sum of several.

    Header, 48 bytes, little-endian: magic ``MFS1``; 1 for an update, 2 for a sum; bytes of a value;
    two zero bytes; number of values (8); SHA-256 of the round's context (32). Then the values.
    """

    context: bytes
    width: int
    parameters: int
    summed: bool = False

    @property
    def length(self) -> int:
        """Bytes of content of this form."""
        return _HEADER.size + self.parameters * self.width

    def header(self) -> bytes:
        """What content of this form begins with."""
        return _HEADER.pack(_MAGIC, 1 + self.summed, self.width, self.parameters, self.context)

    def pack(self, values: Integers) -> bytes:
        """Some values' bytes."""
        return narrowed(values, self.width)

    def read(self, source: BinaryIO) -> Iterator[Integers]:
        """Read foreign bytes, piece by piece; header and length are checked before anything else.

        Raises:
            MedFabricError: ``WIRE_MALFORMED`` or ``WIRE_FOREIGN``.
        """
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        found, wanted = source.read(_HEADER.size), self.header()
        if size != self.length or found[:-32] != wanted[:-32]:
            raise MedFabricError(
                Code.WIRE_MALFORMED, "no masked update of this plan's size; ask the sender for one"
            )
        if found != wanted:
            raise MedFabricError(Code.WIRE_FOREIGN, "masked for another round")
        return self._pieces(source)

    def _pieces(self, source: BinaryIO) -> Iterator[Integers]:
        for number in pieces(self.parameters):
            raw = source.read(number * self.width)
            if len(raw) != number * self.width:
                raise MedFabricError(Code.WIRE_MALFORMED, "it ends before its last value")
            yield widened(raw, self.width)


class MaskSecrets:
    """A node's secrets of one round, as the 32 bytes that all of them follow from.

    Args:
        context: of the round.
    """

    def __init__(self, seed: bytes, context: bytes) -> None:
        if len(seed) != 32:
            raise MedFabricError(
                Code.WIRE_MALFORMED, "the masks' secret is damaged; restore the node's folder"
            )
        self._seed, self._context = seed, context
        self._mask = self._number(b"pairwise")
        self.own = self._number(b"own")
        """Of the node's own mask."""
        self.mask_key = TransportKey(self._mask)
        self.channel = TransportKey(self._number(b"channel"))

    def shares(self, hospitals: int, threshold: int) -> list[tuple[int, int]]:
        """For each hospital: of the pairwise masks' key, and of the own mask's seed."""
        polynomials = [
            [secret, *(self._number(label + bytes([power])) for power in range(1, threshold))]
            for label, secret in ((b"pairwise", self._mask), (b"own", self.own))
        ]
        return [
            (_at(polynomials[0], point), _at(polynomials[1], point))
            for point in range(1, hospitals + 1)
        ]

    def _number(self, label: bytes) -> int:
        drawn = derived(self._seed, self._context + label).bytes(48)
        return int.from_bytes(drawn, "big") % (ORDER - 1) + 1

    def __repr__(self) -> str:
        return "MaskSecrets(...)"


def recovered(shares: Mapping[int, int]) -> int:
    """The secret, from shares by their hospitals' points: a polynomial's value at 0.

    Raises:
        MedFabricError: ``SHARES_INCOMPLETE`` where none are given.
    """
    if not shares:
        raise MedFabricError(Code.SHARES_INCOMPLETE, "no share of a node's secret is there")
    total = 0
    for point, share in shares.items():
        factor = 1
        for other in shares:
            if other != point:
                factor = factor * other * pow(other - point, -1, ORDER) % ORDER
        total = (total + factor * share) % ORDER
    return total


def own_sha256(context: bytes, secret: int) -> str:
    """What binds a node's own seed on the ledger."""
    said = b"MFS1 own" + context + secret.to_bytes(SHARE_BYTES, "big")
    return hashlib.sha256(said).hexdigest()


class Masker:
    """The arithmetic of one round.

    Args:
        mask_keys: of the round's masking, in its order.
    """

    def __init__(
        self, terms: MaskingTerms, parameters: int, context: bytes, mask_keys: Sequence[str]
    ) -> None:
        self._terms, self._parameters, self._context = terms, parameters, context
        self._mask_keys = mask_keys
        self._clip = terms.clip_micro / 1e6
        self.update = MaskedForm(context, terms.width, parameters)
        self.total = MaskedForm(context, terms.width, parameters, summed=True)

    def mask(
        self, values: NDArray[np.floating], weight: int, secrets: MaskSecrets, place: int
    ) -> Iterator[bytes]:
        """An update: values clipped, rounded, multiplied by the weight, and masked.

        Args:
            values: ``float[parameters]``.
            place: of this node in the masking.

        Raises:
            MedFabricError: ``WRONG_SIZE`` or ``VALUE_NOT_FINITE``.
        """
        if values.shape != (self._parameters,):
            raise MedFabricError(
                Code.WRONG_SIZE, f"{values.shape} values instead of {self._parameters}"
            )
        own = self._own(secrets.own)
        pairs = {
            other: self._pair(secrets.mask_key, key)
            for other, key in enumerate(self._mask_keys)
            if other != place
        }
        yield self.update.header()
        first = 0
        for number in pieces(self._parameters):
            some = whole(values[first : first + number], self._clip, self._terms.levels) * weight
            masked = some.astype(np.uint64) + self._words(own, number)
            for other, pair in pairs.items():
                self._shift(masked, self._words(pair, number), up=other > place)
            first += number
            yield self.update.pack(masked)

    def add(self, updates: Sequence[BinaryIO]) -> Iterator[bytes]:
        """The sum of masked updates: the same bytes everywhere.

        Raises:
            MedFabricError: an update is malformed.
        """
        readers = [self.update.read(update) for update in updates]
        yield self.total.header()
        for chunks in zip(*readers, strict=True):
            total = chunks[0].copy()
            for chunk in chunks[1:]:
                total += chunk
            yield self.total.pack(total)

    def unmask(
        self,
        total: BinaryIO,
        own: Sequence[int],
        dropped: Mapping[int, TransportKey],
        total_weight: int,
    ) -> Iterator[NDArray[np.float64]]:
        """The weighted mean, piece by piece, the same bytes everywhere.

        Args:
            own: the seeds of those in the sum.
            dropped: by its place, the key of each node of the masking that is not in the sum.

        Raises:
            MedFabricError: malformed, or ``DECODE_RANGE`` where the masks do not come off.
        """
        streams = [(self._own(secret), False) for secret in own]
        for place, key in dropped.items():
            streams += [
                # The other added it where the dropped node comes after it.
                (self._pair(key, public), place < other)
                for other, public in enumerate(self._mask_keys)
                if other not in dropped
            ]
        for piece in self.total.read(total):
            for stream, up in streams:
                self._shift(piece, self._words(stream, piece.size), up=up)
            sums = self._signed(piece)
            check_sums(sums, self._terms.levels * total_weight)
            yield mean(sums, self._terms.levels, total_weight, self._clip)

    def _own(self, secret: int) -> Stream:
        return derived(secret.to_bytes(SHARE_BYTES, "big"), b"MFS1 own mask" + self._context)

    def _pair(self, key: TransportKey, public_hex: str) -> Stream:
        return derived(key.agreed(self._context, b"MFS1 pairwise mask", public_hex), b"")

    def _words(self, stream: Stream, number: int) -> Integers:
        size = 4 if self._terms.width <= 4 else 8
        return np.frombuffer(stream.bytes(size * number), f"<u{size}")

    def _signed(self, values: Integers) -> NDArray[np.int64]:
        """Of the ring's numbers, those nearest to 0."""
        unused = np.uint64(64 - 8 * self._terms.width)
        return (values << unused).view(np.int64) >> unused.astype(np.int64)

    @staticmethod
    def _shift(values: Integers, mask: Integers, *, up: bool) -> None:
        (np.add if up else np.subtract)(values, mask, out=values)


def pieces(parameters: int) -> Iterator[int]:
    """Sizes of the pieces that values are worked on in."""
    for first in range(0, parameters, _PIECE):
        yield min(_PIECE, parameters - first)


def _at(coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % ORDER
    return value
