"""A table's and an images' data terms, and the salt of a record of them."""

from __future__ import annotations

from chaincode.schema.data import DataTerms, Feature, TensorTerms

SALT = b"s" * 32
TABLE = DataTerms(
    application="test",
    features=(Feature(name="age", low_micro=0, high_micro=100_000_000),),
    label="outcome",
    classes=("well", "ill"),
)
IMAGES = DataTerms(
    application="test",
    tensor=TensorTerms(shape=(1, 2, 2), low_micro=0, high_micro=255_000_000),
    label="outcome",
    classes=("well", "ill"),
)
