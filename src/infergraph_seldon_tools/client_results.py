"""What SeldonClient gives back, and the credentials it takes."""

from __future__ import annotations

import ssl
from typing import Any

import grpc


class Result:
    """What was sent, what came back, whether that was an answer, and what to say if not."""

    def __init__(self, request: Any, response: Any, success: bool = True, msg: str = "") -> None:
        self.request = request
        self.response = response
        self.success = success
        self.msg = msg

    def __repr__(self) -> str:
        return f"Success:{self.success} message:{self.msg}\nRequest:\n{self.request}\nResponse:\n{self.response}"


class SeldonClientPrediction(Result):
    """A request and its answer."""


class SeldonClientFeedback(Result):
    """A feedback and its answer."""


class SeldonClientCombine(Result):
    """Several messages and the one answer to them."""


class SeldonChannelCredentials:
    """How the server is verified, and what certificate it is shown.

    Args:
        verify: whether the server's certificate must be valid.
        root_certificates_file: authorities to trust.
        private_key_file: key of the client's certificate.
        certificate_chain_file: the client's certificate.
    """

    def __init__(
        self,
        verify: bool = True,
        root_certificates_file: str | None = None,
        private_key_file: str | None = None,
        certificate_chain_file: str | None = None,
    ) -> None:
        self.verify = verify
        self.root_certificates_file = root_certificates_file
        self.private_key_file = private_key_file
        self.certificate_chain_file = certificate_chain_file


class SeldonCallCredentials:
    """A token for each call, sent as `X-Auth-Token`."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token


def https_context(credentials: SeldonChannelCredentials) -> ssl.SSLContext:
    """What https verifies and shows."""
    context = ssl.create_default_context(cafile=credentials.root_certificates_file)
    if not credentials.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credentials.certificate_chain_file:
        context.load_cert_chain(credentials.certificate_chain_file, credentials.private_key_file)
    return context


def grpc_credentials(credentials: SeldonChannelCredentials) -> grpc.ChannelCredentials:
    """What a gRPC channel verifies and shows."""
    files = (
        credentials.root_certificates_file,
        credentials.private_key_file,
        credentials.certificate_chain_file,
    )
    return grpc.ssl_channel_credentials(*(_read(file) if file else None for file in files))


def _read(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()
