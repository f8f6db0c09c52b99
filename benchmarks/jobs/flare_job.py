"""The whole job on NVIDIA FLARE in its proof-of-concept mode; seconds on standard output, as JSON.

``python flare_job.py plain|encrypted``: from provisioning to the end of the job.
"""

from __future__ import annotations

import json
import sys
import time

import wdbc
from nvflare.recipe.poc_env import PocEnv


def main(encrypted: bool) -> None:
    """Provision, start the services, run the job."""
    begin = time.monotonic()
    environment = PocEnv(num_clients=wdbc.SITES, use_he=encrypted)
    try:
        run = _recipe(encrypted).execute(environment)
        # Waits for the job's end.
        result = run.get_result()
        seconds = time.monotonic() - begin
        print(json.dumps({"seconds": seconds, "status": run.get_status(), "result": result}))
    finally:
        environment.stop(clean_up=True)


def _recipe(encrypted: bool):
    job = {
        "min_clients": wdbc.SITES,
        "num_rounds": wdbc.ROUNDS,
        "model": wdbc.Network(),
        "train_script": "flare_client.py",
    }
    if encrypted:
        from nvflare.app_opt.pt.recipes.fedavg_he import FedAvgRecipeWithHE

        return FedAvgRecipeWithHE(name="wdbc-he", **job)
    from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe

    return FedAvgRecipe(name="wdbc", **job)


if __name__ == "__main__":
    main(sys.argv[1] == "encrypted")
