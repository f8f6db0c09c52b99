"""The keys and checkpoints of a node's trainings, in its folder.

The key of a round's training is made and kept before the first batch is drawn, and erased when the
update is prepared. A node that was killed goes on with the same batches and noise; see
:mod:`~trainer.progress`. Other inputs than before (the file of records was changed meanwhile, say)
have another key: no noise covers two of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from chaincode.schema import canonical
from trainer.node.home import Home
from trainer.privacy.sampling import Stream
from trainer.progress import CHECKPOINT_SECONDS, Course
from trainer.randomness import Secrets


class Courses:
    """Gives each round's training its course.

    Args:
        every: seconds between two checkpoints.
    """

    def __init__(self, home: Home, secrets: Secrets, every: float = CHECKPOINT_SECONDS) -> None:
        self._home = home
        self._secrets = secrets
        self._every = every

    def of(self, plan_id: str, number: int, inputs: Mapping[str, str | int]) -> Course:
        """The course of a round's training on these inputs."""
        # Of rounds that went on without this node nothing is needed any more.
        self._home.erase(plan_id, "training-", spare=_name(number))
        secret = self._home.secret(
            plan_id, lambda: self._secrets.new("training", plan_id, number), f"{_name(number)}key"
        )
        about = canonical.sha256({"secret": secret.hex(), "inputs": dict(inputs)})
        name = f"{_name(number)}checkpoint-{about[:16]}"
        return Course(
            bytes.fromhex(canonical.sha256({"course": secret.hex(), "inputs": dict(inputs)})),
            lambda: self._home.kept(plan_id, name),
            lambda content: self._home.keep_bytes(plan_id, name, content),
            self._every,
        )

    def draw(self, plan_id: str, number: int) -> str:
        """This node's part in the draw of a round's groups, hex: made once."""
        return self._home.secret(
            plan_id, lambda: self._secrets.new("draw", plan_id, number), f"draw-{number:05d}"
        ).hex()

    def test_stream(self, *purpose: str | int) -> Stream | None:
        """In test mode, what the encryption draws from for a purpose; else None."""
        return self._secrets.test_stream(*purpose)

    def end(self, plan_id: str, number: int) -> None:
        """Erase a training's key and checkpoints: what it led to is kept."""
        self._home.erase(plan_id, _name(number))


def _name(number: int) -> str:
    return f"training-{number:05d}-"
