"""``medfabric admin``: everything that a hospital's administrator does."""

from __future__ import annotations

import click

from client.cli.admin.applications import application
from client.cli.admin.budget import budget
from client.cli.admin.charter import charter
from client.cli.admin.config import config
from client.cli.admin.datasets import dataset
from client.cli.admin.models import model
from client.cli.admin.nodes import node
from client.cli.admin.plans import plan, round_
from client.cli.admin.privacy import privacy
from client.cli.admin.private import private
from client.cli.admin.reputations import classifier, complaint, reputation
from client.cli.admin.sharing import sharing
from client.cli.admin.storage import storage
from client.cli.admin.studies import study


@click.group()
def admin() -> None:
    """Govern: hospitals, nodes, datasets, plans, models, reputations, the channel."""


for command in (
    charter,
    node,
    dataset,
    plan,
    round_,
    model,
    application,
    sharing,
    storage,
    budget,
    privacy,
    private,
    reputation,
    complaint,
    classifier,
    study,
    config,
):
    admin.add_command(command)
