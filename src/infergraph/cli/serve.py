"""`infergraph serve`: serve a class or a graph."""

from __future__ import annotations

import importlib
import os

import click

from infergraph import settings
from infergraph.cli import options
from infergraph.cli.command import Command, argument, option
from infergraph.cli.launch import plan_of
from infergraph.process import supervisor

_EPILOG = (
    "Exit codes: 0 stopped after every request was answered; 2 it cannot start (one line says why); "
    "3 load() of the component raised."
)


@click.command("serve", cls=Command, epilog=_EPILOG)
@argument(
    "target",
    about="What to serve: module:Class, path/to/file.py:Class, package.module.Class, MyModel, a SeldonDeployment file "
    "(.yaml, .json), or a saved model (iris.joblib, model.onnx, an MLflow folder). NAME=TARGET serves it under a name.",
)
@options.nodes_option
@options.predictor_option
@option("--reload", is_flag=True, help="Restart when a source file changes.")
@option("--groups", is_flag=True, help="Run nodes that ask for a place of their own as processes of their own.")
@option(
    "--on",
    metavar="CLUSTER",
    default="",
    help="Run those nodes on a Ray cluster: ray (RAY_ADDRESS, else one that is started here), ray://HOST:PORT of Ray "
    "Client, or HOST:PORT of its head.",
)
@options.settings_options()
def serve(
    target: str, given: options.Given, nodes: tuple[str, ...], predictor: str, reload: bool, groups: bool, on: str
) -> None:
    """Serve a class or a graph over REST and gRPC, and as a task endpoint.

    Example: infergraph serve mymodel.py:MyModel --workers 2
    """
    loaded = settings.load(os.environ, given)
    if on and (groups or reload):
        raise click.UsageError(
            f"--on goes with neither --groups nor --reload, and {'--groups' if groups else '--reload'} is given"
        )
    plan = plan_of(target, loaded.settings, nodes=nodes, predictor=predictor, reload=reload)
    if on:
        planner = importlib.import_module("infergraph.cli.ray_groups")
        planned = planner.ray_plan_of(plan, target, planner.address_of(on), nodes=nodes, predictor=predictor)
        supervisor.replace_process(planned, "infergraph.process.groups")
    if groups:
        planner = importlib.import_module("infergraph.cli.groups")  # it takes the graph's modules, which serve does not
        planned = planner.groups_plan_of(plan, target, nodes=nodes, predictor=predictor)
        supervisor.replace_process(planned, "infergraph.process.groups")
    supervisor.replace_process(plan)
