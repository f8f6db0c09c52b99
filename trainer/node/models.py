"""Models at their author's or their operator's desk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaincode.schema.encryption import Workload
from chaincode.schema.errors import Code, MedFabricError
from client import drafting
from trainer.models import registry
from trainer.models.check import check
from trainer.models.findings import Finding
from trainer.models.layers import Layers
from trainer.privacy.masking import Masker
from trainer.privacy.threshold import Scheme

_HOSPITALS = 4
_CLIP_MICRO = 1_000_000


def check_architecture(
    architecture: str,
    settings: Mapping[str, int],
    classes: int | None = None,
    layers: Sequence[str] = (),
) -> tuple[list[Finding], dict[str, object]]:
    """Findings on an architecture, and what a plan's model and layer terms would say of it.

    Args:
        classes: how many the label has, where no setting says so.
        layers: what a plan is to train; all, where none is named.

    Raises:
        MedFabricError: ``ARCHITECTURE_UNKNOWN``, ``ARCHITECTURE_CONFIG``.
    """
    module = registry.build(architecture, settings)
    classes = classes or settings.get("classes")
    if classes is None:
        raise MedFabricError(
            Code.ARCHITECTURE_CONFIG,
            f"{architecture} has no setting classes; say with --classes how many the label has",
        )
    shape = registry.shape(architecture, settings)
    found = check(module, shape, classes)
    facts: dict[str, object] = {
        "architecture": architecture,
        "record": "x".join(map(str, shape)),
        "parameters": 0,
        "architecture_sha256": None,
    }
    if not any(finding.refused for finding in found):
        # Of layers whose size is not known yet there is no layout.
        shapes = registry.layout(module)
        facts["parameters"] = registry.size(shapes)
        facts["architecture_sha256"] = registry.sha256(architecture, settings, shapes)
        facts |= _trained(shapes, layers)
    return found, facts


def _trained(shapes: registry.Layout, chosen: Sequence[str]) -> dict[str, object]:
    """Parameters of every layer; a plan's layer terms, None for all; bytes of an update of what is
    trained, in a plan of _HOSPITALS hospitals whose updates' values are within 1."""
    parts: dict[str, int] = {}
    for name, shape in shapes:
        layer = name.rpartition(".")[0] or name
        parts[layer] = parts.get(layer, 0) + registry.size(((name, shape),))
    trained = Layers.of(shapes, chosen)
    work = Workload(_HOSPITALS, _HOSPITALS, trained.size, rounds=1)
    scheme = Scheme(drafting.encryption(work, _CLIP_MICRO), work, bytes(32))
    masked = Masker(drafting.masked(work, _CLIP_MICRO), trained.size, bytes(32), [])
    return {
        "layers": [{"layer": layer, "parameters": number} for layer, number in parts.items()],
        "training_layers": trained.terms and trained.terms.model_dump(mode="json"),
        "update_bytes": scheme.update_length,
        "masked_update_bytes": masked.update.length,
    }
