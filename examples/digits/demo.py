"""The tour of `make demo`: fit a model on real data, serve it, ask it over REST and gRPC, and stop.

Run it from a checkout: `make demo`, or `make demo KEEP=1` to leave the server up at the end.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infergraph.wire import prediction

HERE = Path(__file__).parent
HELD_OUT = 0.3
SHOWN = 160


def say(text: str = "") -> None:
    print(text, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fit(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Fit a classifier on the digits that come with scikit-learn; the held-out images and their digits."""
    images, digits = load_digits(return_X_y=True)
    train, test, train_digits, test_digits = train_test_split(images, digits, test_size=HELD_OUT, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, train_digits)
    joblib.dump(model, path)
    say(f"Fitted a classifier on {len(train)} images of handwritten digits; {len(test)} are held out.")
    return test, test_digits


def start(model: Path, work: Path) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start `infergraph serve` and wait until it is ready."""
    http_port, grpc_port = free_port(), free_port()
    parameters = json.dumps([{"name": "path", "value": str(model), "type": "STRING"}])
    command = [
        str(Path(sys.executable).with_name("infergraph")), "serve", f"{HERE / 'classifier.py'}:DigitClassifier",
        "--http-port", str(http_port), "--grpc-port", str(grpc_port), "--metrics-port", "0",
        "--parameters", parameters, "--data-dir", str(work / "data"), "--log-level", "WARNING",
    ]  # fmt: skip
    say(f"\n$ infergraph serve classifier.py:DigitClassifier --http-port {http_port} --grpc-port {grpc_port} …")
    started = time.monotonic()
    server = subprocess.Popen(command)
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{http_port}/ready", timeout=1)
            break
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    if server.poll() is not None:
        sys.exit(f"the server ended with exit code {server.returncode}")
    say(f"Ready after {time.monotonic() - started:.1f} s.")
    return server, http_port, grpc_port


def ask_rest(http_port: int, images: np.ndarray) -> np.ndarray:
    """Probabilities, shape (images, 10), over REST."""
    body = json.dumps({"data": {"tensor": {"shape": list(images.shape), "values": images.ravel().tolist()}}})
    url = f"http://127.0.0.1:{http_port}/api/v1.0/predictions"
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    answer = urllib.request.urlopen(request, timeout=30).read().decode()
    say(f"\nPOST {url}\n  > {body[:SHOWN]}…\n  < {answer[:SHOWN]}…")
    tensor = json.loads(answer)["data"]["tensor"]
    return np.reshape(tensor["values"], tensor["shape"])


def ask_grpc(grpc_port: int, images: np.ndarray) -> np.ndarray:
    """Probabilities, shape (images, 10), over gRPC."""
    message = prediction.SeldonMessage()
    message.data.tensor.shape.extend(images.shape)
    message.data.tensor.values.extend(images.ravel())
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        predict = channel.unary_unary(
            "/seldon.protos.Model/Predict",
            request_serializer=prediction.SeldonMessage.SerializeToString,
            response_deserializer=prediction.SeldonMessage.FromString,
        )
        answer = predict(message, timeout=30)
    say(f"\ngRPC seldon.protos.Model/Predict on port {grpc_port}")
    say(f"  > tensor of shape {list(message.data.tensor.shape)}")
    say(f"  < tensor of shape {list(answer.data.tensor.shape)}, columns {', '.join(answer.data.names)}")
    return np.reshape(answer.data.tensor.values, list(answer.data.tensor.shape))


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--keep", action="store_true", help="leave the server up until Ctrl-C")
    keep = arguments.parse_args().keep
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        images, digits = fit(work / "digits.joblib")
        server, http_port, grpc_port = start(work / "digits.joblib", work)
        try:
            ask_rest(http_port, images[:1])
            over_rest = ask_rest(http_port, images).argmax(axis=1)
            over_grpc = ask_grpc(grpc_port, images).argmax(axis=1)
            say(f"\nAccuracy on {len(digits)} held-out images: {np.mean(over_rest == digits):.1%} over REST, "
                f"{np.mean(over_grpc == digits):.1%} over gRPC.")  # fmt: skip
            agree = bool((over_rest == over_grpc).all())
            if keep:
                say(f"\nThe server is up at http://127.0.0.1:{http_port} (documents: /docs). Ctrl-C stops it.")
                server.wait()
        except KeyboardInterrupt:
            say()
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGTERM)
            code = server.wait(timeout=60)
        say(f"Stopped; the server's exit code is {code}.")
        return 0 if code == 0 and (keep or agree) else 1


if __name__ == "__main__":
    sys.exit(main())
