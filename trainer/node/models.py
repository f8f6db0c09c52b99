"""Models at their author's or their operator's desk."""

from __future__ import annotations

from collections.abc import Mapping

from chaincode.schema.errors import Code, MedFabricError
from trainer.models import registry
from trainer.models.check import check
from trainer.models.findings import Finding


def check_architecture(
    architecture: str, settings: Mapping[str, int], classes: int | None = None
) -> tuple[list[Finding], dict[str, object]]:
    """Findings on an architecture, and what a plan's model terms would say of it.

    Args:
        classes: how many the label has, where no setting says so.

    Raises:
        MedFabricError: ``ARCHITECTURE_UNKNOWN``, ``ARCHITECTURE_CONFIG``.
    """
    classes = classes or settings.get("classes")
    if classes is None:
        raise MedFabricError(
            Code.ARCHITECTURE_CONFIG, f"{architecture} has no setting classes; say how many"
        )
    module = registry.build(architecture, settings)
    shape = registry.shape(architecture, settings)
    found = check(module, shape, classes)
    # Of layers whose size is not known yet there is no layout.
    shapes = () if any(finding.refused for finding in found) else registry.layout(module)
    return found, {
        "architecture": architecture,
        "record": "x".join(map(str, shape)),
        "parameters": registry.size(shapes),
        "architecture_sha256": registry.sha256(architecture, settings, shapes) if shapes else None,
    }
