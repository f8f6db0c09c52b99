"""Ten thousand mutations of each kind of foreign content: refused by a code, or a canonical other
value; memory bounded, no crash."""

from __future__ import annotations

import hashlib
import io
import os
import resource
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.key_holders import key_holders
from support.pki import make_authority, make_identity

from chaincode.schema.encryption import EncryptionTerms, mask_tail
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.tied import Tie
from client.content import envelope as envelopes
from trainer.privacy import KeySecret
from trainer.privacy.commitments import Commitments, digest
from trainer.privacy.dealing import KeyDealing
from trainer.privacy.encryptor import Encryptor
from trainer.privacy.handover import Handing, Held
from trainer.privacy.kahe import TiedMasks
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import LARGEST_ERROR, LIMB_BITS, fresh
from trainer.privacy.shareproof import Part, Shared, ShareProof
from trainer.privacy.tied import PublicKey, Tied
from trainer.privacy.transport import TransportKey
from trainer.privacy.updates import SumForm, TiedForm, UpdateForm
from trainer.privacy.wellformed import WellFormed
from trainer.privacy.wire import Form, Kind

MUTATIONS = 10_000
PRIMES = (281474976636929, 281474976694273)
CONTEXT = b"c" * 32
SMALL = {"context": CONTEXT, "primes": PRIMES, "degree": 64, "chunks": 2}
FORMS = [
    Form(Kind.KEY, **SMALL),
    Form(Kind.CIPHERTEXT, **SMALL, polynomials=2),
    Form(Kind.SHARE, **SMALL),
    Form(Kind.PROOF, **SMALL, polynomials=4),
    Form(Kind.SUBSHARE, **SMALL),
    Form(Kind.MASKED, **SMALL),
]
MEGABYTES_MORE = 64


def _mutations(content: bytes) -> Iterator[bytes]:
    """Flipped bits, cut and lengthened content, swapped parts, headers that claim gigabytes."""
    draw = np.random.default_rng(len(content))
    for index in range(MUTATIONS):
        place = int(draw.integers(0, len(content)))
        # Every second one in the header, where sizes are.
        place = place % 52 if index % 2 else place
        kind = index % 5
        if kind == 0:
            yield content[:place]
        elif kind == 1:
            yield content + draw.bytes(1 + place % 100)
        elif kind == 2:
            yield content[place:] + content[:place]
        elif kind == 3:
            claimed = b"\xff" * 4
            yield content[:place] + claimed + content[place + 4 :]
        else:
            changed = bytearray(content)
            changed[place] ^= 1 << int(draw.integers(0, 8))
            yield bytes(changed)


def _memory_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _all_refused(content: bytes, read: Callable[[bytes], object]) -> int:
    """How many of the mutations were refused; what was not is handed to ``read``'s own check."""
    before = _memory_megabytes()
    refused = 0
    for mutated in _mutations(content):
        try:
            read(mutated)
        except MedFabricError as error:
            refused += error.code.startswith("MF-60") or error.code == Code.ENVELOPE_REFUSED
    assert _memory_megabytes() - before < MEGABYTES_MORE
    return refused


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.kind.name)
def test_mutated_content_is_refused_by_code(form: Form) -> None:
    values = fresh().uniform(form.degree * form.chunks * form.polynomials, PRIMES)
    shape = (len(PRIMES), form.chunks, form.polynomials, form.degree)
    content = form.encode(values.reshape(shape).transpose(1, 2, 0, 3))

    def read(mutated: bytes) -> None:
        again = form.encode(np.stack(list(form.read(io.BytesIO(mutated)))))
        # What is not refused is another value, in the one form that it has.
        assert again == mutated

    assert _all_refused(content, read) > 0.7 * MUTATIONS


def test_mutated_dealings_are_refused_by_code() -> None:
    key = TransportKey.of(KeySecret(b"k" * 32), CONTEXT)
    content = key.seal(CONTEXT, 1, [key.public_hex] * 3, [os.urandom(200)] * 3)
    opened = key.open(content, CONTEXT, 1, key.public_hex, (2, 3), 200)

    def read(mutated: bytes) -> None:
        # Another recipient's part may be damaged; this one's is what was sealed, or refused.
        assert key.open(mutated, CONTEXT, 1, key.public_hex, (2, 3), 200) == opened

    assert _all_refused(content, read) > 0.7 * MUTATIONS


def test_mutated_key_shares_are_refused_by_code() -> None:
    # A small ring: what is refused last costs a whole proof.
    rns = Rns(64, PRIMES)
    dealing = KeyDealing(rns, fresh().uniform(64, PRIMES), CONTEXT, 4, 3)
    secret = KeySecret(b"k" * 32)
    content, subshare = dealing.make(secret, 1), dealing.subshares(secret)[1]
    unchanged = sum(mutated == content for mutated in _mutations(content))

    def read(mutated: bytes) -> None:
        # Its middle answers are checked by those who were dealt to.
        dealing.check(mutated, 1)
        dealing.check_subshare(mutated, 1, 2, subshare)

    read(content)
    assert _all_refused(content, read) > 0.99 * MUTATIONS - unchanged


def test_mutated_parts_of_a_key_that_is_handed_on_are_refused_by_code() -> None:
    rns, references = Rns(64, PRIMES), Commitments(Rns(64, PRIMES), b"s" * 32)
    values = [fresh().uniform(64, PRIMES) for _ in range(2)]
    openings = [references.opening(CONTEXT, j, 1, value) for j, value in enumerate(values, 1)]
    committed = [references.commit(*pair) for pair in zip(values, openings, strict=True)]
    held = Held(rns.add(*values), openings[0] + openings[1], np.stack(committed))
    bound = [digest(commitment) for commitment in committed]
    handing = Handing(rns, references, CONTEXT, b"f" * 32, 3, 2, 5, bound, held)
    secret = KeySecret(b"k" * 32)
    content, subshare = handing.make(secret, 1), handing.subshares(secret)[1]
    unchanged = sum(mutated == content for mutated in _mutations(content))

    def read(mutated: bytes) -> None:
        handing.check(mutated, 1)
        handing.check_subshare(mutated, 1, 2, subshare)

    read(content)
    assert _all_refused(content, read) > 0.99 * MUTATIONS - unchanged


def test_mutated_updates_are_refused_by_code() -> None:
    # A small ring: what is refused last costs a whole proof.
    rns = Rns(64, PRIMES)
    reference = fresh().uniform(64, PRIMES)
    proof = WellFormed(rns, reference, CONTEXT)
    # Two rows are read and checked as all are, and ten thousand times sooner done.
    proof.rows = 2
    shape = {"context": CONTEXT, "degree": 64, "chunks": 1}
    ciphertexts = Form(Kind.CIPHERTEXT, primes=PRIMES, polynomials=2, **shape)
    masked = Form(Kind.MASKED, primes=PRIMES[:1], **shape)
    form = UpdateForm(SumForm(ciphertexts, masked), proof, set())
    made, opening = Encryptor(rns, np.stack([reference, reference])).zero(fresh())
    values = fresh().uniform(64, PRIMES[:1])
    content = ciphertexts.encode(made[None]) + proof.prove([made], [opening], fresh())
    content += masked.encode(values[None, None])

    def read(mutated: bytes) -> None:
        ciphertext, found = form.read(io.BytesIO(mutated))
        # What is not refused has another value under the mask: the ledger's hash holds that.
        assert (ciphertext == made).all()
        assert masked.encode(found[None]) == mutated[-masked.length :]

    read(content)
    assert _all_refused(content, read) > 0.9 * MUTATIONS


def test_mutated_proofs_of_decryption_shares_are_refused_by_code() -> None:
    # A small ring, two rows: what is refused last costs a whole proof.
    degree, stream = 16, fresh()
    rns = Rns(degree, PRIMES)
    reference, times = (stream.uniform(degree, PRIMES) for _ in range(2))
    shorts = np.stack([stream.ternary(degree), stream.error(degree)])
    secret, error = map(rns.small, shorts)
    one, nothing = np.broadcast_to(rns.residues(1), times.shape), np.zeros_like(times)
    image = rns.add(rns.multiply(reference, secret), error)
    part = Part(image, reference[None], nothing, one[None], LARGEST_ERROR)
    flood = rns.joined(stream.flood(degree, 60), LIMB_BITS)
    shared = Shared(rns.add(rns.inverse(rns.multiply(times, secret)), flood), times)
    proof = ShareProof(rns, part, shared, CONTEXT, 60)
    proof.rows = 2
    content = proof.prove(shorts, stream)
    unchanged = sum(mutated == content for mutated in _mutations(content))

    proof.check(content)
    assert _all_refused(content, proof.check) == MUTATIONS - unchanged


class _OneRow(Tie):
    """One row is read and checked as all are, and ten thousand times sooner done."""

    @property
    def rows(self) -> int:
        return 1


def test_mutated_updates_with_masks_tied_to_their_key_are_refused_by_code() -> None:
    degree, chunks, stream = 16, 1, fresh()
    rns = Rns(degree, PRIMES)
    terms = EncryptionTerms().model_copy(update={"poly_modulus_degree": degree, "levels": 1000})
    masks = TiedMasks(terms, PRIMES, CONTEXT, _OneRow(degree, chunks, 1000, mask_tail(10)))
    halves = np.stack([stream.uniform(degree, PRIMES), stream.uniform(degree, PRIMES)])
    public = PublicKey(halves, rns.residues(1 << 60))
    proof = Tied(rns, public, masks, CONTEXT)
    shape = {"context": CONTEXT, "degree": degree, "primes": PRIMES}
    ciphertexts = Form(Kind.CIPHERTEXT, chunks=1, polynomials=2, **shape)
    form = TiedForm(SumForm(ciphertexts, Form(Kind.MASKED, chunks=chunks, **shape)), proof, set())
    made, opening = Encryptor(rns, halves).zero(stream)
    key = masks.key(stream)
    made[0] = rns.add(made[0], rns.multiply(rns.small(key), public.scale))
    messages = [masks.message(np.zeros(degree), stream) for _ in range(chunks)]
    hidden = [
        rns.add(rns.multiply(rns.forward(masks.public(chunk)), rns.small(key)), rns.small(message))
        for chunk, message in enumerate(messages)
    ]
    masked = form.sum.masked.encode(np.stack([rns.inverse(one) for one in hidden])[:, None])
    secrets = (opening.once, key)
    said = proof.prove(made, hashlib.sha256(masked).digest(), secrets, messages, stream)
    content = ciphertexts.encode(made[None]) + masked + said
    unchanged = sum(mutated == content for mutated in _mutations(content))

    def read(mutated: bytes) -> None:
        list(form.read(io.BytesIO(mutated)))

    read(content)
    assert _all_refused(content, read) == MUTATIONS - unchanged


def test_mutated_envelopes_and_wrapped_keys_are_refused_by_code() -> None:
    key, record = envelopes.new_key(), b"r" * 32
    recipient = make_identity(make_authority(), "node1")
    envelope = envelopes.seal(os.urandom(200), key, record)
    wrapped = envelopes.wrap(key, recipient.public_key, record)

    for content, read in (
        (envelope, lambda mutated: envelopes.unseal(mutated, key, record)),
        (wrapped, lambda mutated: envelopes.unwrap(mutated, recipient, record)),
    ):
        unchanged = sum(mutated == content for mutated in _mutations(content))
        assert _all_refused(content, read) == MUTATIONS - unchanged


def test_a_key_secret_and_what_shares_are_made_of_are_not_taken_from_others() -> None:
    holders = key_holders(threshold=3)
    form = holders.scheme.form(Kind.SUBSHARE)
    content = form.encode(holders.share_keys[0].residues[None, None])

    for mutated in (content[:-1], content + b"\0", b"", content[:52]):
        with pytest.raises(MedFabricError, match="MF-6001"):
            form.decode(mutated)
