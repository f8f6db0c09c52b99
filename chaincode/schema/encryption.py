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
_LARGEST_FLOOD = 78


class EncryptionTerms(Language):
    """Threshold CKKS with coefficient packing. ``clip_micro`` bounds every value of an update.

    ``security_bits``: of the ring, by the homomorphic encryption standard's table.
    ``flood_bits``: the noise of a decryption share is the sum of four uniform numbers in
    [-2^flood, 2^flood). ``statistical_bits``: all shares of the plan together tell at most
    2^-statistical_bits more (statistical distance) than the decrypted sums do.
    ``threshold``: hospitals whose shares decrypt; None for all of them.
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


@dataclass(frozen=True)
class Workload:
    """What the terms must carry: ``updates`` nodes of ``hospitals`` key holders submit
    ``parameters`` values in each of ``rounds`` rounds."""

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
    if terms.clip_micro << terms.weight_bits > 10**6 << (53 - FRACTION_BITS):
        return "weights times clip exceed what is decoded exactly; lower one of them"
    if _needed_bits(terms, work.hospitals) > bits:
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
) -> EncryptionTerms:
    """The smallest ciphertexts that do.

    Args:
        security_bits: 128, 192 or 256.
        error_nano: largest absolute error of the decrypted mean, in units of 1e-9.
        statistical_bits: at least so many.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED`` with the reason where no terms do.
    """
    why = "no ring of the homomorphic encryption standard's table is large enough"
    for bits in sorted(_moduli(), key=lambda bits: (sum(bits), len(bits))):
        degree = _degree(security_bits, sum(bits))
        if degree is None:
            break
        found = {
            "security_bits": security_bits,
            "poly_modulus_degree": degree,
            "modulus_bits": bits,
            "weight_bits": weight_bits,
            "clip_micro": clip_micro,
            "statistical_bits": statistical_bits,
            "threshold": threshold,
        }
        terms = EncryptionTerms.model_validate(found)
        fitted = _fitted(terms, work, error_nano)
        if fitted is None:
            continue
        refused = refusal(fitted, work)
        if refused is None:
            return EncryptionTerms.model_validate(fitted.model_dump())
        why = refused
        if fitted.flood_bits == _LARGEST_FLOOD:
            break
    raise MedFabricError(
        Code.PARAMETERS_REFUSED,
        f"no encryption terms do: {why}; allow a larger error, clip less or ask for less",
    )


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
    chunks = -(-work.parameters // terms.poly_modulus_degree)
    coefficients = chunks * terms.poly_modulus_degree * work.rounds
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
    holders = terms.threshold or hospitals
    noise = 10**9 * largest_noise(terms, holders, hospitals)
    # The weights sum to at least half of their resolution.
    return 1 + -(-noise // (1 << (terms.scale_bits + terms.weight_bits - 1)))


def _needed_bits(terms: EncryptionTerms, hospitals: int) -> int:
    """Bits of a modulus in which no sum wraps around, with two to spare."""
    largest = (terms.clip_micro << (terms.weight_bits + terms.scale_bits)) // 10**6
    noise = largest_noise(terms, terms.threshold or hospitals, hospitals)
    return (largest + noise).bit_length() + 2


def _fitted(terms: EncryptionTerms, work: Workload, error: int) -> EncryptionTerms | None:
    """The terms with as much flooding as the modulus and the error allow; None if with none."""
    for flood in range(_LARGEST_FLOOD, 9, -1):
        for scale in range(FRACTION_BITS + 1, sum(terms.modulus_bits)):
            tried = terms.model_copy(update={"flood_bits": flood, "scale_bits": scale})
            if error_nano(tried, work.hospitals) <= error:
                break
        else:
            continue
        if _needed_bits(tried, work.hospitals) <= sum(terms.modulus_bits):
            distance = min(max(statistical_bits(tried, work), terms.statistical_bits), 128)
            return tried.model_copy(update={"statistical_bits": distance})
    return None


def _moduli() -> list[tuple[int, ...]]:
    return [
        bits
        for number in range(2, _MOST_PRIMES + 1)
        for bits in combinations_with_replacement(_PRIME_BITS, number)
    ]


def _degree(security: int, bits: int) -> int | None:
    limits = _LARGEST_MODULUS[security]
    return next((degree for degree, limit in limits.items() if bits <= limit), None)
