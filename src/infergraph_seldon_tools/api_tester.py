"""Random requests to a deployment behind a gateway, made after a contract file (see `microservice_tester`)."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from infergraph_seldon_tools.microservice_tester import arguments_parser, run
from infergraph_seldon_tools.seldon_client import SeldonClient


def get_seldon_client(args: argparse.Namespace) -> SeldonClient:
    """The client that `args` describe."""
    return SeldonClient(
        gateway="ambassador",
        gateway_endpoint=f"{args.host}:{args.port}",
        deployment_name=args.deployment,
        namespace=args.namespace,
        transport="grpc" if args.grpc else "rest",
        payload_type="tensor" if args.tensor else "ndarray",
        client_return_type="proto",
    )


def main() -> None:
    """`seldon-core-api-tester CONTRACT HOST PORT [DEPLOYMENT]`: exit 0 if every answer was a success, else 1."""
    parser = arguments_parser("seldon-core-api-tester", ["predict", "send-feedback"])
    parser.add_argument("deployment", nargs="?", default="mymodel")
    parser.add_argument("--namespace", default=None)
    arguments = parser.parse_args()
    with get_seldon_client(arguments) as client:

        def send(batch: np.ndarray[Any, Any], names: list[str]) -> Any:
            predicted = client.predict(data=batch, names=names)
            if arguments.endpoint == "predict":
                return predicted
            return client.feedback(predicted.request, predicted.response, reward=1.0)

        sys.exit(run(arguments, send))


if __name__ == "__main__":
    main()
