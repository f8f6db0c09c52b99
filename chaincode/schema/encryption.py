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
from chaincode.schema.tied import MASK_PRIMES, Tie

PROOF_MASK_BITS = 23
"""Answers of a ciphertext's proof are below 2^23 in size (``trainer.privacy.wellformed``)."""
SHARE_PROOF_ROWS = 132
"""Of a decryption share's proof; half of them are answered (``trainer.privacy.shareproof``)."""
SHARE_ANSWER_BITS = 30
"""Its answers about short polynomials are below 2^30 in size."""
SHARE_MASK_BITS = 2
"""Its masks of flooding noise are 2^2 times as wide as that."""
# A discrete Gaussian exceeds ten deviations with a probability below 2^-75.
_TAIL = 10

# Largest log2 of the modulus, by security level and degree: ternary secret, classical attacks
# (Albrecht et al. 2018, "Homomorphic Encryption Standard", table 1).
_LARGEST_MODULUS: dict[int, dict[int, int]] = {
    128: {4096: 109, 8192: 218, 16384: 438, 32768: 881},
    192: {4096: 75, 8192: 152, 16384: 305, 32768: 611},
    256: {4096: 58, 8192: 118, 16384: 237, 32768: 476},
}
_PRIME_BITS = (40, 48)
_MASK_BITS = (32, 40, 48)
_MOST_PRIMES = 8
# Sums of keys are decoded as integers of so many bits.
_KEY_BITS = 61
_LARGEST_FLOOD = 240


class EncryptionTerms(Language):
    """An update is whole multiples of clip / ``levels``, masked modulo a prime of ``mask_bits``
    under a key of its own; that key is encrypted by threshold CKKS, in coefficients, times
    2^``scale_bits``. ``clip_micro`` bounds every value of an update.

    ``security_bits``: of the ring, by the homomorphic encryption standard's table.
    ``flood_bits``: the noise of a decryption share is the sum of four uniform numbers in
    [-2^flood, 2^flood). ``statistical_bits``: all shares of the plan together tell at most
    2^-statistical_bits more (statistical distance) than the decrypted sums do.
    ``threshold``: hospitals whose shares decrypt; None for all of them.
    ``tied``: an update's proof shows, too, that its masked values open under its encrypted key.
    That takes wider masks, and a wider modulus (:mod:`chaincode.schema.tied`).
    """

    scheme: Literal["ckks-threshold-v3"] = "ckks-threshold-v3"
    security_bits: Literal[128, 192, 256] = 128
    poly_modulus_degree: Literal[4096, 8192, 16384, 32768] = 8192
    modulus_bits: Annotated[
        tuple[Literal[32, 40, 48], ...], Field(min_length=2, max_length=_MOST_PRIMES)
    ] = (48, 48, 48)
    scale_bits: Annotated[int, Field(ge=12, le=400)] = 115
    flood_bits: Annotated[int, Field(ge=10, le=_LARGEST_FLOOD)] = 107
    statistical_bits: Annotated[int, Field(ge=20, le=128)] = 40
    weight_bits: Annotated[int, Field(ge=1, le=14)] = 10
    clip_micro: Annotated[int, Field(ge=1, le=10**9)] = 8_000_000
    levels: Annotated[int, Field(ge=1, le=2**44)] = 2**35
    mask_bits: Literal[32, 40, 48, 64, 72, 80, 88, 96, 104, 112, 120] = 48
    threshold: Annotated[int, Field(ge=2, le=64)] | None = None
    tied: bool = False

    def chunks(self, parameters: int) -> int:
        """Polynomials of masked values in an update."""
        return -(-parameters // self.poly_modulus_degree)

    def tie(self, parameters: int) -> Tie:
        """What the proof of an update of so many values says, where it ties them to its key."""
        tail = mask_tail(self.weight_bits)
        return Tie(self.poly_modulus_degree, self.chunks(parameters), self.levels, tail)


@dataclass(frozen=True)
class Workload:
    """What the terms must carry: ``updates`` nodes of ``hospitals`` key holders submit
    ``parameters`` values in each of ``rounds`` rounds. A round in which sums over groups are
    decrypted too counts once for each sum. ``secrets``: hospitals whose secrets the key is the sum
    of; 0: those that hold it."""

    hospitals: int
    updates: int
    parameters: int
    rounds: int
    secrets: int = 0

    @property
    def summed(self) -> int:
        """Secrets that the key is the sum of."""
        return self.secrets or self.hospitals


def refusal(terms: EncryptionTerms, work: Workload) -> str | None:
    """Why the terms do not do for this work, or None where they do."""
    bits = sum(terms.modulus_bits)
    limit = _LARGEST_MODULUS[terms.security_bits][terms.poly_modulus_degree]
    if bits > limit:
        return (
            f"a modulus of {bits} bits at degree {terms.poly_modulus_degree} is not "
            f"{terms.security_bits}-bit secure: the homomorphic encryption standard allows {limit}"
        )
    if wrong := _misfit(terms.threshold, terms.weight_bits, work):
        return wrong
    if terms.mask_bits > limit:
        return f"masks of {terms.mask_bits} bits are not {terms.security_bits}-bit secure"
    if terms.tied != (terms.mask_bits in MASK_PRIMES):
        return "masks of more than 48 bits are those of updates whose proof ties them to their key"
    if terms.levels > _most_levels(terms, work):
        return "the weighted sum of masked values does not fit into the masks' modulus"
    if largest_key(terms) > 1 << _KEY_BITS:
        return "the weighted sum of masks' keys is too large; tie the updates of fewer nodes"
    # Where updates are tied, what is proven of a key may be odd, of twice a key.
    if _noise(terms, work) << terms.tied >= 1 << terms.scale_bits:
        return "the decryption's noise reaches the masks' keys"
    if _needed_bits(terms) > bits:
        return "the weighted sum of the masks' keys does not fit into the modulus"
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
    tied: bool = False,
) -> EncryptionTerms:
    """The smallest updates that do, with as much flooding as their modulus has room for.

    Args:
        security_bits: 128, 192 or 256.
        error_nano: largest absolute error of the decrypted mean, in units of 1e-9.
        statistical_bits: at least so many.
        tied: whether masked values are to be proven to open under their key.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED`` with the reason where no terms do.
    """
    if wrong := _misfit(threshold, weight_bits, work):
        raise MedFabricError(Code.PARAMETERS_REFUSED, f"{wrong}; change that")
    why = "no ring of the homomorphic encryption standard's table is large enough"
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
            "threshold": threshold,
            "tied": tied,
        }
        masked = _masked(EncryptionTerms.model_validate(ring), work, error_nano)
        terms = flooded(masked, work)
        if terms is None or terms.statistical_bits < statistical_bits:
            continue
        if (refused := refusal(terms, work)) is None:
            return EncryptionTerms.model_validate(terms.model_dump())
        why = refused
    raise MedFabricError(
        Code.PARAMETERS_REFUSED,
        f"no encryption terms do: {why}; ask for less security or fewer bits of distance",
    )


def _misfit(threshold: int | None, weight_bits: int, work: Workload) -> str | None:
    """Why no ring does, however large."""
    if threshold is not None and not work.hospitals < 2 * threshold < 2 * work.hospitals:
        return (
            f"of {work.hospitals} hospitals the threshold must be more than half and fewer than "
            "all (left out: all)"
        )
    if 2 * work.updates > 1 << weight_bits:
        return (
            f"the weights' resolution of {weight_bits} bits is too small for {work.updates} "
            f"updates: it does for {(1 << weight_bits) // 2}"
        )
    return None


def most_levels(mask_bits: int, weight_bits: int) -> int:
    """The finest resolution whose weighted sum stays within a quarter of the masks' modulus."""
    return (1 << (mask_bits - 2 - weight_bits)) - mask_tail(weight_bits)


def most_attempts(hospitals: int) -> int:
    """Times that key holders share in one sum at most, where not all of them are needed: n - t may
    drop out one by one, and t be left out one by one."""
    return hospitals + 1


def mask_deviation(weight_bits: int) -> int:
    """Standard deviation, rounded up, of masks' keys and noise: 3.25 2^weight_bits.

    A sum that is decrypted tells sum(w k) of the masks' keys k, and as much of their noise. What
    then remains open of two members' k is Gaussian on a line of whole numbers whose steps are
    (w2, -w1) / gcd(w1, w2), of this deviation: at least 3.25 steps, as the homomorphic encryption
    standard asks of a ring's secrets and errors, for w1^2 + w2^2 is at most 2^(2 weight_bits).
    """
    return -(-(13 << weight_bits) // 4)


def mask_tail(weight_bits: int) -> int:
    """What no coefficient of a mask's key or noise exceeds in size."""
    return _TAIL * mask_deviation(weight_bits)


def largest_key(terms: EncryptionTerms) -> int:
    """Bound on a coefficient of the weighted sum of masks' keys; of twice the sum, where updates
    are tied to their keys."""
    tail = terms.tie(1).largest_key if terms.tied else mask_tail(terms.weight_bits)
    return tail << terms.weight_bits


def statistical_bits(terms: EncryptionTerms, work: Workload) -> int:
    """-log2, rounded down, of the statistical distance that the flooding leaves.

    Twice a ciphertext that is proven sound has c1 = a u' + e', u' and e' below B = 2N 2^23 in
    size, so that one coefficient of twice a sum's own noise, as far as it depends on keys, has the
    mean square sum(w)^2 N B^2 n (2/3 + 10.5) < 16 N n B^2 sum(w)^2 (N: degree, n: hospitals, 2/3
    and 10.5: the variances of secrets and errors); four times that allows for keys worse than the
    mean. Shifting the flooding noise by e changes it by a squared Hellinger distance of at most
    I e^2 / (8 2^(2 flood + 2)), I = 3.12 being the Fisher information of four unit uniforms' sum;
    these add up over independent coefficients, and the statistical distance is at most sqrt(2)
    times the root: below sqrt(M) e / 2^(flood + 1) for M coefficients.

    Where all hospitals decrypt, each may have to prove its share, too. Half of the proof's rows
    then tell the flooding noise under a mask 2^m times as wide. A shift of the noise by e shifts
    share and answers alike, and of independent masks the Fisher informations add up:
    I (1 + rows / 2 / 4^m).
    """
    coefficients = terms.poly_modulus_degree * work.rounds
    if terms.threshold is None:
        coefficients = told_with_proof(coefficients)
    else:
        # Each time that a key holder drops out, or is left out because its share may be wrong, the
        # others share in the same sum once more.
        coefficients *= most_attempts(work.hospitals)
    # The largest b with square * coefficients * 4^b <= 4^(flood + 1).
    product = (_square(terms, work.summed) * coefficients - 1).bit_length()
    return terms.flood_bits + 1 - -(-product // 2)


def told_with_proof(coefficients: int, attempts: int = 1) -> int:
    """How many coefficients' noise is told by shares of each in so many attempts, and by a proof of
    the last one's; see :func:`statistical_bits`."""
    mask = 1 << (2 * SHARE_MASK_BITS)
    return -(-coefficients * (attempts * mask + SHARE_PROOF_ROWS // 2) // mask)


def largest_flood(flood_bits: int) -> int:
    """Bound on a coefficient of a share's flooding noise."""
    return 4 << flood_bits


def proven_flood(flood_bits: int) -> int:
    """The same of a share that is proven: the largest answer and the largest mask together."""
    largest = largest_flood(flood_bits)
    return largest + (2 * largest << SHARE_MASK_BITS)


def proven_products(degree: int, hospitals: int, weight: int) -> int:
    """Bound on twice a sum's own noise where of the hospitals' secrets and errors is known what
    their shares' proofs show; ``weight``: of all its ciphertexts together. See
    :func:`largest_noise`."""
    return hospitals * weight * degree * largest_sound(degree) << (SHARE_ANSWER_BITS + 3)


def largest_noise(terms: EncryptionTerms, holders: int, hospitals: int) -> int:
    """Bound on a coefficient's noise in twice a decrypted sum.

    Where all hospitals decrypt, it holds for whatever can be proven of their shares: flooding noise
    of the largest answer and the largest mask together, and secrets and errors that are shorter
    than 2^(answer + 1) each. With them the sum's own noise is at most
    sum(w) (n N B 2^(answer + 2) + B); see :func:`statistical_bits` for B.
    """
    # The sum's own is 16 times its bound's root mean square at most: 2^-180 otherwise.
    own = 16 << ((_square(terms, hospitals).bit_length() + 1) // 2)
    if terms.threshold is not None:
        return holders * largest_flood(terms.flood_bits) + own
    own += proven_products(terms.poly_modulus_degree, hospitals, 1 << terms.weight_bits)
    return holders * proven_flood(terms.flood_bits) + own


def error_nano(terms: EncryptionTerms) -> int:
    """Largest absolute error of a decrypted mean, in units of 1e-9, rounded up: half a level, and
    the masks' noise."""
    return _error_nano(terms.clip_micro, terms.levels, terms.weight_bits)


def _error_nano(clip_micro: int, levels: int, weight_bits: int) -> int:
    return -(-1000 * clip_micro * (1 + 2 * mask_tail(weight_bits)) // (2 * levels))


def _square(terms: EncryptionTerms, hospitals: int) -> int:
    """Mean square of a sum's own noise, at most; see :func:`statistical_bits`."""
    products = terms.poly_modulus_degree * largest_sound(terms.poly_modulus_degree) ** 2
    return 64 * hospitals * products << (2 * terms.weight_bits)


def largest_sound(degree: int) -> int:
    """B: bound on u' and e' of twice a ciphertext that is proven sound."""
    return 2 * degree << PROOF_MASK_BITS


def _noise(terms: EncryptionTerms, work: Workload) -> int:
    return largest_noise(terms, terms.threshold or work.hospitals, work.summed)


def _needed_bits(terms: EncryptionTerms) -> int:
    """Bits of a modulus in which no sum wraps around, with two to spare."""
    return (largest_key(terms).bit_length() + 1) + terms.scale_bits + 2


def _masked(terms: EncryptionTerms, work: Workload, error: int) -> EncryptionTerms:
    """The terms with the narrowest masks within the error, and their finest resolution."""
    widths = tuple(MASK_PRIMES) if terms.tied else _MASK_BITS
    for bits in widths:
        tried = terms.model_copy(update={"mask_bits": bits})
        levels = _most_levels(tried, work)
        if levels > 0 and _error_nano(terms.clip_micro, levels, terms.weight_bits) <= error:
            return tried.model_copy(update={"levels": levels})
    raise MedFabricError(
        Code.PARAMETERS_REFUSED,
        f"no encryption terms do: {widths[-1]} bits to a value do not hold the error; "
        "allow a larger one, or clip less",
    )


def _most_levels(terms: EncryptionTerms, work: Workload) -> int:
    if terms.tied:
        return terms.tie(work.parameters).finest(terms.mask_bits, terms.weight_bits)
    return most_levels(terms.mask_bits, terms.weight_bits)


def flooded(terms: EncryptionTerms, work: Workload) -> EncryptionTerms | None:
    """The terms with as much flooding as their modulus has room for; None if with none. For a key
    that is handed on, whose ring is given, to others or another threshold."""
    for flood in range(_LARGEST_FLOOD, 9, -1):
        tried = terms.model_copy(update={"flood_bits": flood})
        scale = _noise(tried, work).bit_length() + terms.tied
        tried = tried.model_copy(update={"scale_bits": scale})
        if _needed_bits(tried) <= sum(terms.modulus_bits):
            distance = min(statistical_bits(tried, work), 128)
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
