"""Graceful shutdown of HTTP/2 connections: send GOAWAY on behalf of an engine that does not.

    drain ─▶ close_listener ─▶ announce: GOAWAY on each connection ─▶ clients reconnect elsewhere, calls in flight end

The native engine closes its connections abruptly, and calls in flight are lost. Its sockets belong to this process, so
the frame can be written to them here, between two frames of the engine: the engine writes each frame in one piece
unless the socket buffer is full, and then nothing is written here. Linux only.

Source: RFC 9113, section 6.8: a first GOAWAY with the highest stream number does not affect calls in flight.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing, suppress

GOAWAY = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00"
"""A frame of 8 bytes on stream 0: last stream 2^31-1, NO_ERROR."""

_FOLDER = "/proc/self/fd"
_SIOCOUTQ = 0x5411
_TCP_ESTABLISHED = 1


def close_listener(port: int) -> None:
    """Stop accepting connections on a port of this process."""
    for found in _sockets(port):
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)


def announce(port: int, announced: set[int]) -> int:
    """Send GOAWAY on each connection of a port that has no unsent data.

    Args:
        announced: the inodes of connections that have been sent one; updated in place.
    Returns: how many connections are open.
    """
    count = 0
    for found in _sockets(port):
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) or not _is_established(found):
            continue
        count += 1
        inode = os.fstat(found.fileno()).st_ino
        if inode not in announced and not _unsent_bytes(found):
            with suppress(OSError):
                found.send(GOAWAY, socket.MSG_DONTWAIT)
            announced.add(inode)
    return count


def _sockets(port: int) -> Iterator[socket.socket]:
    """Duplicates of this process's TCP sockets bound to a port; each is closed before the next one is yielded."""
    if sys.platform != "linux":
        return
    for name in os.listdir(_FOLDER):
        with suppress(OSError):
            if not os.readlink(f"{_FOLDER}/{name}").startswith("socket:"):
                continue
            with closing(socket.socket(fileno=os.dup(int(name)))) as found:
                if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                    yield found


def _is_established(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED


def _unsent_bytes(connection: socket.socket) -> int:
    answer = fcntl.ioctl(connection.fileno(), _SIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])
