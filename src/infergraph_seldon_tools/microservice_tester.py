"""Random requests to one component, made after a contract file.

    contract.json ─unfold─▶ one entry a feature ─generate─▶ rows ─▶ SeldonClient.microservice

The contract: `{"features": [F…], "targets": [T…]}`; each has `name`, `ftype` continuous or categorical, and as it needs
`dtype` FLOAT or INT, `range` [lo, hi] with "inf" for open sides, `shape` of a row, `values`, and `repeat`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from infergraph_seldon_tools.seldon_client import SeldonClient, SeldonClientException

_RULE = "-" * 40


class SeldonTesterException(Exception):
    """A contract that cannot be followed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def gen_continuous(f_range: Sequence[float | str], n: int) -> np.ndarray[Any, Any]:
    """`n` random numbers of a range: uniform, lognormal from its one bound, or normal where it has none."""
    generator = np.random.default_rng()
    low, high = f_range
    if low == "inf" and high == "inf":
        return generator.normal(size=n)
    if low == "inf":
        return float(high) - generator.lognormal(size=n)
    if high == "inf":
        return float(low) + generator.lognormal(size=n)
    return generator.uniform(float(low), float(high), size=n)


def reconciliate_cont_type(feature: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Numbers as `dtype` has them: FLOAT to three decimals, INT (or INTEGER) to whole ones; always doubles.

    Raises: SeldonTesterException for another dtype.
    """
    if dtype == "FLOAT":
        return np.around(feature, decimals=3)
    if dtype in ("INT", "INTEGER"):
        rounded: np.ndarray[Any, Any] = np.floor(feature + 0.5)
        return rounded
    raise SeldonTesterException(f"the dtype of a continuous feature is FLOAT or INT, not {dtype!r}")


def gen_categorical(values: Sequence[Any], n: Sequence[int]) -> np.ndarray[Any, Any]:
    """Random choices of `values`, of shape `n`."""
    return np.random.default_rng().choice(np.asarray(values), size=tuple(n))


def generate_batch(contract: dict[str, Any], n: int, field: str) -> np.ndarray[Any, Any]:
    """`n` random rows of the contract's `field` (features or targets); axes: row, column.

    Raises: SeldonTesterException for a feature that is neither continuous nor categorical.
    """
    columns = [_column(feature, n) for feature in contract[field]]
    if len({feature["ftype"] for feature in contract[field]}) > 1:
        columns = [column.astype(object) for column in columns]
    return np.concatenate(columns, axis=1)


def _column(feature: dict[str, Any], n: int) -> np.ndarray[Any, Any]:
    shape = [n, *feature.get("shape", [1])]
    if feature["ftype"] == "continuous":
        numbers = gen_continuous(feature.get("range", ["inf", "inf"]), int(np.prod(shape)))
        return reconciliate_cont_type(numbers, feature.get("dtype", "")).reshape(shape)
    if feature["ftype"] == "categorical":
        return gen_categorical(feature["values"], shape)
    raise SeldonTesterException(f"the ftype of {feature.get('name')!r} is {feature['ftype']!r}, which is unknown")


def unfold_contract(contract: dict[str, Any]) -> dict[str, Any]:
    """The contract with each repeated entry expanded: features `name1`…, targets `name:0`…."""
    features: list[dict[str, Any]] = []
    for feature in contract["features"]:
        count = feature.get("repeat")
        features += (
            [feature] if count is None else [feature | {"name": f"{feature['name']}{i + 1}"} for i in range(count)]
        )
    targets: list[dict[str, Any]] = []
    for target in contract.get("targets", []):
        count = target.get("repeat")
        targets += [target] if count is None else [target | {"name": f"{target['name']}:{i}"} for i in range(count)]
    return {"features": features, "targets": targets}


def get_class_names(contract: dict[str, Any]) -> list[str]:
    """The names of the contract's targets."""
    return [target["name"] for target in contract["targets"]]


def feature_names(contract: dict[str, Any]) -> list[str]:
    """The names of the contract's features."""
    return [feature["name"] for feature in contract["features"]]


def read_contract(path: str) -> dict[str, Any]:
    """The unfolded contract of a file."""
    with open(path) as file:
        return unfold_contract(json.load(file))


def arguments_parser(program: str, endpoints: Sequence[str]) -> argparse.ArgumentParser:
    """What both testers take: a contract, where to send, and how."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("contract", help="file with the contract")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--endpoint", choices=endpoints, default="predict")
    parser.add_argument("-b", "--batch-size", type=int, default=1)
    parser.add_argument("-n", "--n-requests", type=int, default=1)
    parser.add_argument("--grpc", action="store_true")
    parser.add_argument("-t", "--tensor", action="store_true")
    parser.add_argument("-p", "--prnt", action="store_true", help="print requests and answers")
    parser.add_argument("--log-level", choices=["DEBUG", "INFO", "ERROR"], default="ERROR")
    return parser


def run(arguments: argparse.Namespace, send: Callable[[np.ndarray[Any, Any], list[str]], Any]) -> int:
    """Send the requests that `arguments` ask for, and print them if it asks for that.

    Returns: 0 if every answer was a success, else 1.
    """
    contract = read_contract(arguments.contract)
    failed = 0
    for _ in range(arguments.n_requests):
        batch = generate_batch(contract, arguments.batch_size, "features")
        try:
            result = send(batch, feature_names(contract))
        except SeldonClientException as error:
            print(error, file=sys.stderr)
            return 1
        failed += not result.success
        if arguments.prnt:
            print(f"{_RULE}\nSENDING NEW REQUEST:\n\n{batch}\nRECEIVED RESPONSE:\n{result.response}\n")
        if not result.success:
            print(f"the request failed: {result.msg}", file=sys.stderr)
    return 1 if failed else 0


def main() -> None:
    """`seldon-core-microservice-tester CONTRACT HOST PORT`: exit 0 if every answer was a success, else 1."""
    parser = arguments_parser("seldon-core-microservice-tester", ["predict", "send-feedback", "transform-input"])
    arguments = parser.parse_args()
    with SeldonClient(
        microservice_endpoint=f"{arguments.host}:{arguments.port}",
        transport="grpc" if arguments.grpc else "rest",
        payload_type="tensor" if arguments.tensor else "ndarray",
    ) as client:

        def send(batch: np.ndarray[Any, Any], names: list[str]) -> Any:
            if arguments.endpoint != "send-feedback":
                return client.microservice(method=arguments.endpoint, data=batch, names=names)
            predicted = client.microservice(method="predict", data=batch, names=names)
            return client.microservice_feedback(predicted.request, predicted.response, 1.0)

        sys.exit(run(arguments, send))


if __name__ == "__main__":
    main()
