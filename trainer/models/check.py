"""Whether a model can be trained here: with per-sample gradients, noise, and encrypted updates."""

from __future__ import annotations

from torch import nn

from chaincode.schema.errors import Code, MedFabricError
from trainer.models import structure, trial
from trainer.models.findings import Finding


def check(module: nn.Module, shape: tuple[int, ...], classes: int) -> list[Finding]:
    """Everything that is wrong with the model, layer by layer; the model stays as it is.

    Args:
        shape: of one record.
        classes: how many the label has.
    """
    found = list(structure.findings(module))
    if not any(finding.refused for finding in found):
        found += trial.findings(module, shape, classes)
    return found


def refuse(architecture: str, found: list[Finding]) -> None:
    """Refuse to train a model with refused findings.

    Raises:
        MedFabricError: ``ARCHITECTURE_UNFIT``, naming every layer and what to put instead.
    """
    wrong = [finding for finding in found if finding.refused]
    if wrong:
        each = "; ".join(f"{f.layer} ({f.kind}): {f.problem}; use {f.instead}" for f in wrong)
        raise MedFabricError(
            Code.ARCHITECTURE_UNFIT, f"{architecture} cannot be trained here: {each}"
        )
