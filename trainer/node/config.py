"""A node's configuration file: where its identity, its data and its folder are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from chaincode.schema.base import Id
from chaincode.schema.errors import Code, MedFabricError
from client.files import wrong_fields
from trainer.data.dataset import Source
from trainer.progress import CHECKPOINT_SECONDS


class DirectoryStoreConfig(BaseModel):
    """Content in a folder that all hospitals can reach."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["directory"] = "directory"
    folder: Path


class KuboStoreConfig(BaseModel):
    """Content in an IPFS node; ``secret_file`` holds the bearer secret of its RPC port."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["kubo"]
    address: str
    secret_file: Path


class DataConfig(Source):
    """The records behind a registered dataset. The registered sample counts follow from them and
    from their split."""

    dataset_id: Id


class ComputeConfig(BaseModel):
    """What a node trains on: Lightning's accelerator and precision, and the least time between
    two checkpoints of a training."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    accelerator: Literal["cpu", "cuda", "mps", "auto"] = "cpu"
    # At 16-true the noise itself would be rounded; 16-mixed scales gradients before the clip.
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    checkpoint_seconds: float = Field(default=CHECKPOINT_SECONDS, ge=0)


class EnclaveConfig(BaseModel):
    """What signs reports of what the node attests: the AMD SEV-SNP guest that it runs in, or a
    software attester in its place, which protects nothing. ``folder``: with the chip's
    certificates (``vcek.der``, ``ask.der``, ``ark.der``); the software attester makes its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["sev-snp", "simulated"]
    folder: Path


class NodeConfig(BaseModel):
    """``node.json``. Relative paths are relative to the file's folder.

    Of ``datasets`` a plan's work is on the one that the plan names for the node, or else on the
    first of the plan's application. With ``join_plans`` the node takes a place, with that dataset,
    in every plan whose rule admits it; without, it takes part only where a plan names it or its
    operator joins. ``test_seed`` switches test mode on: batches, noise and keys all follow from it,
    so that runs repeat to the byte and nothing is private or secret. Tests alone may set it.
    ``enclave``: for
    plans that pin the hospital's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    connection: Path
    identity: Path
    home: Path
    store: DirectoryStoreConfig | KuboStoreConfig
    datasets: tuple[DataConfig, ...] = ()
    compute: ComputeConfig = ComputeConfig()
    enclave: EnclaveConfig | None = None
    join_plans: bool = False
    test_seed: int | None = None

    @field_validator("datasets")
    @classmethod
    def _are_different(cls, datasets: tuple[DataConfig, ...]) -> tuple[DataConfig, ...]:
        if len({data.dataset_id for data in datasets}) < len(datasets):
            raise ValueError("a dataset is there twice")
        return datasets


def load(path: Path) -> NodeConfig:
    """Read and check a configuration file, its paths made absolute.

    Raises:
        MedFabricError: ``NODE_CONFIG``, naming the file and the field.
    """
    try:
        config = NodeConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise MedFabricError(
            Code.NODE_CONFIG, f"cannot read {path}: {error.strerror}; name a node.json"
        ) from None
    except ValidationError as error:
        raise MedFabricError(
            Code.NODE_CONFIG, f"{path}: {wrong_fields(error)}; correct it and start again"
        ) from None
    return _absolute(config, path.resolve().parent)


def _absolute(config: NodeConfig, base: Path) -> NodeConfig:
    store = config.store
    if isinstance(store, DirectoryStoreConfig):
        store = store.model_copy(update={"folder": base / store.folder})
    else:
        store = store.model_copy(update={"secret_file": base / store.secret_file})
    datasets = tuple(d.model_copy(update={"file": base / d.file}) for d in config.datasets)
    paths = {name: base / getattr(config, name) for name in ("connection", "identity", "home")}
    enclave = config.enclave
    if enclave is not None:
        enclave = enclave.model_copy(update={"folder": base / enclave.folder})
    changes = {**paths, "store": store, "datasets": datasets, "enclave": enclave}
    return config.model_copy(update=changes)
