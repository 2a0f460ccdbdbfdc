"""Compile the .proto files beside this folder to a descriptor set.

    python -m infergraph.wire.generated.compile      (needs grpcio-tools; for development only)

Why a descriptor set and not protoc's Python: generated modules register themselves in protobuf's default pool, where
they would collide with TensorFlow's and the original package's files of the same names.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import resources
from pathlib import Path

WIRE = Path(__file__).resolve().parents[1]
OUTPUT = Path(__file__).resolve().parent / "prediction.binpb"


def compiled() -> bytes:
    """The serialized FileDescriptorSet of our .proto files, without the well-known ones.

    Raises: SystemExit with protoc's exit code if they do not compile.
    """
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set.binpb"
        code = protoc.main(
            [
                "protoc",
                f"--proto_path={WIRE.parents[1]}",
                f"--proto_path={resources.files('grpc_tools') / '_proto'}",
                f"--descriptor_set_out={target}",
                str(WIRE / "tensor.proto"),
                str(WIRE / "prediction.proto"),
                str(WIRE / "inference.proto"),
            ]
        )
        if code != 0:
            raise SystemExit(code)
        return target.read_bytes()


if __name__ == "__main__":
    OUTPUT.write_bytes(compiled())
    sys.stdout.write(f"{OUTPUT}\n")
