"""Global models by address."""

from __future__ import annotations

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys
from chaincode.schema.base import PageArgs
from chaincode.schema.rounds import Model, ModelArgs, ModelPage


class ModelContract:
    """Models are written by rounds; here they are found."""

    @transaction("model:Get")
    def get(self, context: Context, args: ModelArgs) -> Model:
        return context.get(keys.model(args.sha256), Model)

    @transaction("model:List")
    def list(self, context: Context, args: PageArgs) -> ModelPage:
        models, bookmark = context.page("model", (), Model, args.page_size, args.bookmark)
        return ModelPage(models=models, bookmark=bookmark)
