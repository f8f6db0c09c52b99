"""A plan's encryption terms, and the arithmetic that says whether they do: integers only.

The contract refuses a plan by the same rules by which a node refuses to encrypt under it, and
:func:`choose` finds terms that keep them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Annotated, Literal

from pydantic import Field

from chaincode.schema.base import Language
from chaincode.schema.errors import Code, MedFabricError

FRACTION_BITS = 36
"""Values are rounded to multiples of 2^-36 before they are scaled."""

# Largest log2 of the modulus, by security level and degree: ternary secret, classical attacks
# (Albrecht et al. 2018, "Homomorphic Encryption Standard", table 1).
_LARGEST_MODULUS: dict[int, dict[int, int]] = {
    128: {4096: 109, 8192: 218, 16384: 438, 32768: 881},
    192: {4096: 75, 8192: 152, 16384: 305, 32768: 611},
    256: {4096: 58, 8192: 118, 16384: 237, 32768: 476},
}
_PRIME_BITS = (40, 48)
_MOST_PRIMES = 8
_LARGEST_FLOOD = 176


class PackingTerms(Language):
    """Values are rounded to whole multiples of clip / ``levels``, and ``per_coefficient`` of them
    stand in one coefficient, each in a lane that the weighted sum cannot leave."""

    levels: Annotated[int, Field(ge=1, le=2**40)]
    per_coefficient: Annotated[int, Field(ge=1, le=64)]


class EncryptionTerms(Language):
    """Threshold CKKS, values in coefficients. ``clip_micro`` bounds every value of an update.

    ``security_bits``: of the ring, by the homomorphic encryption standard's table.
    ``flood_bits``: the noise of a decryption share is the sum of four uniform numbers in
    [-2^flood, 2^flood). ``statistical_bits``: all shares of the plan together tell at most
    2^-statistical_bits more (statistical distance) than the decrypted sums do.
    ``threshold``: hospitals whose shares decrypt; None for all of them.
    ``packing``: None where every coefficient carries one value, rounded to a multiple of 2^-36.
    """

    scheme: Literal["ckks-threshold-v2"] = "ckks-threshold-v2"
    security_bits: Literal[128, 192, 256] = 128
    poly_modulus_degree: Literal[4096, 8192, 16384, 32768] = 4096
    modulus_bits: Annotated[
        tuple[Literal[32, 40, 48], ...], Field(min_length=2, max_length=_MOST_PRIMES)
    ] = (48, 48)
    scale_bits: Annotated[int, Field(ge=37, le=400)] = 80
    flood_bits: Annotated[int, Field(ge=10, le=_LARGEST_FLOOD)] = 66
    statistical_bits: Annotated[int, Field(ge=20, le=128)] = 30
    weight_bits: Annotated[int, Field(ge=1, le=14)] = 10
    clip_micro: Annotated[int, Field(ge=1, le=10**9)] = 8_000_000
    threshold: Annotated[int, Field(ge=2, le=64)] | None = None
    packing: PackingTerms | None = None

    @property
    def per_coefficient(self) -> int:
        """Values that a coefficient carries."""
        return self.packing.per_coefficient if self.packing else 1

    def chunks(self, parameters: int) -> int:
        """Ciphertexts of an update."""
        return -(-parameters // (self.poly_modulus_degree * self.per_coefficient))


@dataclass(frozen=True)
class Workload:
    """What the terms must carry: ``updates`` nodes of ``hospitals`` key holders submit
    ``parameters`` values in each of ``rounds`` rounds. A round in which sums over groups are
    decrypted too counts once for each sum."""

    hospitals: int
    updates: int
    parameters: int
    rounds: int


def refusal(terms: EncryptionTerms, work: Workload) -> str | None:
    """Why the terms do not do for this work, or None where they do."""
    bits = sum(terms.modulus_bits)
    limit = _LARGEST_MODULUS[terms.security_bits][terms.poly_modulus_degree]
    if bits > limit:
        return (
            f"a modulus of {bits} bits at degree {terms.poly_modulus_degree} is not "
            f"{terms.security_bits}-bit secure: the homomorphic encryption standard allows {limit}"
        )
    if (
        terms.threshold is not None
        and not work.hospitals < 2 * terms.threshold < 2 * work.hospitals
    ):
        return "the threshold must be more than half of the hospitals and fewer than all"
    if 2 * work.updates > 1 << terms.weight_bits:
        return "the weights' resolution is too small for so many updates"
    if _largest_sum(terms) > 1 << 53:
        return "weights times clip exceed what is decoded exactly; lower one of them"
    if terms.packing is not None and _noise(terms, work) >= 1 << (terms.scale_bits - 1):
        return "the decryption's noise reaches the packed values"
    if _needed_bits(terms, work) > bits:
        return "the weighted sum of updates does not fit into the modulus"
    distance = statistical_bits(terms, work)
    if distance < terms.statistical_bits:
        return (
            f"the flooding noise hides the decryption's own to 2^-{max(distance, 0)}, "
            f"the plan claims 2^-{terms.statistical_bits}"
        )
    return None


def choose(
    work: Workload,
    *,
    clip_micro: int,
    error_nano: int,
    weight_bits: int = 10,
    security_bits: int = 128,
    statistical_bits: int = 40,
    threshold: int | None = None,
    packed: bool = True,
) -> EncryptionTerms:
    """The smallest updates that do.

    Args:
        security_bits: 128, 192 or 256.
        packed: whether several values may share a coefficient, where that is smaller.
        error_nano: largest absolute error of the decrypted mean, in units of 1e-9.
        statistical_bits: at least so many.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED`` with the reason where no terms do.
    """
    why = "no ring of the homomorphic encryption standard's table is large enough"
    found: list[EncryptionTerms] = []
    for bits in sorted(_moduli(), key=lambda bits: (sum(bits), len(bits))):
        degree = _degree(security_bits, sum(bits))
        if degree is None:
            break
        ring = {
            "security_bits": security_bits,
            "poly_modulus_degree": degree,
            "modulus_bits": bits,
            "weight_bits": weight_bits,
            "clip_micro": clip_micro,
            "statistical_bits": statistical_bits,
            "threshold": threshold,
        }
        terms = EncryptionTerms.model_validate(ring)
        fitted = [_packed(terms, work, error_nano)] if packed else []
        # Of those with one value to a coefficient, the smallest modulus is the best.
        if all(one.packing for one in found):
            fitted.append(_fitted(terms, work, error_nano))
        for one in fitted:
            if one is not None:
                refused = refusal(one, work)
                found += [] if refused else [EncryptionTerms.model_validate(one.model_dump())]
                why = refused or why
    if found:
        return min(found, key=lambda terms: update_bytes(terms, work.parameters))
    raise MedFabricError(
        Code.PARAMETERS_REFUSED,
        f"no encryption terms do: {why}; allow a larger error, clip less or ask for less",
    )


def update_bytes(terms: EncryptionTerms, parameters: int) -> int:
    """What an update's residues take."""
    residues = 2 * terms.poly_modulus_degree * terms.chunks(parameters)
    return residues * sum(terms.modulus_bits) // 8


def lane_bits(levels: int, weight_bits: int) -> int:
    """Bits for a weighted sum of quantised values: one for its sign, and one that stays free, so
    that a sum beyond what honest updates give is seen and does not change its neighbour's."""
    return (levels << weight_bits).bit_length() + 2


def statistical_bits(terms: EncryptionTerms, work: Workload) -> int:
    """-log2, rounded down, of the statistical distance that the flooding leaves.

    One coefficient of a sum's own noise has the mean square
    sum(w)^2 (4/3 N n 10.5 + 10.5) < 16 N n sum(w)^2 (N: degree, n: hospitals, 10.5: the error's
    variance); four times that allows for keys worse than the mean. Shifting the flooding noise by
    e changes it by a squared Hellinger distance of at most I e^2 / (8 2^(2 flood + 2)), I = 3.12
    being the Fisher information of four unit uniforms' sum; these add up over independent
    coefficients, and the statistical distance is at most sqrt(2) times the root: below
    sqrt(M) e / 2^(flood + 1) for M coefficients.
    """
    coefficients = terms.chunks(work.parameters) * terms.poly_modulus_degree * work.rounds
    if terms.threshold is not None:
        # Each time that a key holder drops out, the others share in the same sum once more.
        coefficients *= work.hospitals - terms.threshold + 1
    square = 64 * terms.poly_modulus_degree * work.hospitals << (2 * terms.weight_bits)
    # The largest b with square * coefficients * 4^b <= 4^(flood + 1).
    product = (square * coefficients - 1).bit_length()
    return terms.flood_bits + 1 - -(-product // 2)


def largest_noise(terms: EncryptionTerms, holders: int, hospitals: int) -> int:
    """Bound on a coefficient's noise in a decrypted sum of honest ciphertexts and shares."""
    # The sum's own is 16 times its bound's root mean square at most: 2^-180 otherwise.
    own = 16 << (terms.weight_bits + (64 * terms.poly_modulus_degree * hospitals).bit_length() // 2)
    return holders * (4 << terms.flood_bits) + own


def error_nano(terms: EncryptionTerms, hospitals: int) -> int:
    """Largest absolute error of a decrypted mean, in units of 1e-9, rounded up."""
    if terms.packing is not None:
        # Half a level: the sum of what was rounded is decoded exactly.
        return 1 + -(-1000 * terms.clip_micro // (2 * terms.packing.levels))
    holders = terms.threshold or hospitals
    noise = 10**9 * largest_noise(terms, holders, hospitals)
    # The weights sum to at least half of their resolution.
    return 1 + -(-noise // (1 << (terms.scale_bits + terms.weight_bits - 1)))


def _noise(terms: EncryptionTerms, work: Workload) -> int:
    return largest_noise(terms, terms.threshold or work.hospitals, work.hospitals)


def _largest_sum(terms: EncryptionTerms) -> int:
    """Of one value, in units of its resolution."""
    if terms.packing is not None:
        return terms.packing.levels << terms.weight_bits
    return (terms.clip_micro << (terms.weight_bits + FRACTION_BITS)) // 10**6


def _needed_bits(terms: EncryptionTerms, work: Workload) -> int:
    """Bits of a modulus in which no sum wraps around, with two to spare."""
    largest = (terms.clip_micro << (terms.weight_bits + terms.scale_bits)) // 10**6
    if terms.packing is not None:
        width = lane_bits(terms.packing.levels, terms.weight_bits)
        # All lanes below the highest are less than one of its units.
        highest = (_largest_sum(terms) + 1) << (width * (terms.per_coefficient - 1))
        largest = highest << terms.scale_bits
    return (largest + _noise(terms, work)).bit_length() + 2


def _packed(terms: EncryptionTerms, work: Workload, error: int) -> EncryptionTerms | None:
    """The terms with as many values to a coefficient as their modulus allows; None if none."""
    # The error is told rounded up, and one more.
    levels = -(-1000 * terms.clip_micro // (2 * max(1, error - 1)))
    width, bits = lane_bits(levels, terms.weight_bits), sum(terms.modulus_bits)
    holders = (terms.threshold or work.hospitals).bit_length()
    for number in range(min(64, bits // width), 0, -1):
        scale = min(bits - width * number, _LARGEST_FLOOD + holders + 4)
        flood = scale - holders - 4
        if flood < 10 or scale <= FRACTION_BITS:
            continue
        packing = PackingTerms(levels=levels, per_coefficient=number)
        changes = {"packing": packing, "flood_bits": flood, "scale_bits": scale}
        tried = terms.model_copy(update=changes)
        distance = statistical_bits(tried, work)
        if distance >= terms.statistical_bits and _needed_bits(tried, work) <= bits:
            return tried.model_copy(update={"statistical_bits": min(distance, 128)})
    return None


def _fitted(terms: EncryptionTerms, work: Workload, error: int) -> EncryptionTerms | None:
    """The terms with as much flooding as the modulus and the error allow; None if with none."""
    for flood in range(_LARGEST_FLOOD, 9, -1):
        tried = terms.model_copy(update={"flood_bits": flood})
        scale = _least_scale(tried, work, error)
        if scale is None or scale > sum(terms.modulus_bits):
            continue
        tried = tried.model_copy(update={"scale_bits": scale})
        if _needed_bits(tried, work) <= sum(terms.modulus_bits):
            distance = min(max(statistical_bits(tried, work), terms.statistical_bits), 128)
            return tried.model_copy(update={"statistical_bits": distance})
    return None


def _least_scale(terms: EncryptionTerms, work: Workload, error: int) -> int | None:
    """The smallest scale at which the noise is within the error (see :func:`error_nano`)."""
    if error < 2:
        return None
    least = -(-(10**9) * _noise(terms, work) // (error - 1))
    return max(FRACTION_BITS + 1, (least - 1).bit_length() - terms.weight_bits + 1)


def _moduli() -> list[tuple[int, ...]]:
    return [
        bits
        for number in range(2, _MOST_PRIMES + 1)
        for bits in combinations_with_replacement(_PRIME_BITS, number)
    ]


def _degree(security: int, bits: int) -> int | None:
    limits = _LARGEST_MODULUS[security]
    return next((degree for degree, limit in limits.items() if bits <= limit), None)
