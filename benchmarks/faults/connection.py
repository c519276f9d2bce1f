"""One connection to the process behind `server.py`: it answers, hangs, or is reset."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from .server import Request

if TYPE_CHECKING:
    from .service import Fault, Service


class Connection(asyncio.Protocol):
    """One kept-alive connection: a request at a time, an answer or none."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""
        self._request: tuple[float, str, dict[str, str], Fault | None] | None = None
        self._is_answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be one of those that are open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        service = self._service
        service.open.add(self)
        service.connections += 1
        self._number = service.connections
        service.most_connections = max(service.most_connections, len(service.open))

    def connection_lost(self, exc: Exception | None) -> None:
        """Be one of them no more."""
        self._service.open.discard(self)

    def reset(self) -> None:
        """Let the other side meet a reset, not an end."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        self._service.open.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer what is whole, one request after the other."""
        self._buffer += data
        if self._is_answering:
            return
        if self._request is None and not self._has_read_head():
            return
        self._read_body()

    def _has_read_head(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        self._buffer = rest
        fault = self._service.next_fault()
        self._request = (time.monotonic(), first.split(" ")[1], headers, fault)
        if fault is not None and (fault.kind, fault.said.get("moment")) == (
            "reset",
            "before",
        ):
            self._note(0, -1)
            self.reset()
            return False
        return True

    def _read_body(self) -> None:
        assert self._request is not None
        _, path, headers, fault = self._request
        length = int(headers.get("content-length", 0))
        if len(self._buffer) < length:
            return
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        self._is_answering = True
        batch = _batch_in(body)
        events = -1 if batch is None else len(batch)
        if fault is not None and fault.kind == "hang":
            self._note(0, events)
            return
        if fault is not None and fault.kind == "answer":
            status = fault.said["status"]
            content = base64.b64decode(fault.said["body"])
            self._note(status, events)
            self._write(_answer(status, content, fault.said["headers"]))
            return
        key = headers.get("x-api-key", "")
        status, said = self._service.take(path, key, length, batch)
        told = _answer(status, json.dumps(said).encode(), {})
        moment = None if fault is None else fault.said.get("moment")
        self._note(0 if moment in ("stored", "within") else status, events)
        if moment == "stored":
            self.reset()
        elif moment == "within":
            self._transport.write(told[:-9])
            asyncio.get_running_loop().call_later(0.01, self.reset)
        elif moment == "after":
            self._write(told)
            asyncio.get_running_loop().call_later(0.01, self.reset)
        elif fault is not None:
            asyncio.get_running_loop().call_later(fault.said["by"], self._write, told)
        else:
            self._write(told)

    def _note(self, status: int, events: int) -> None:
        assert self._request is not None
        at, _, headers, _ = self._request
        key = headers.get("x-api-key", "")
        self._service.requests.append(Request(at, self._number, events, status, key))

    def _write(self, told: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(told)
        self._request, self._is_answering = None, False
        if self._buffer:
            self.data_received(b"")


def _batch_in(body: bytes) -> list[dict[str, Any]] | None:
    """Return the batch that a body is, or None."""
    try:
        batch = json.loads(body)
    except ValueError:
        return None
    is_batch = isinstance(batch, list) and all(isinstance(one, dict) for one in batch)
    return batch if is_batch else None


def _answer(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Length: {len(body)}",
        *(
            f"{name}: {value}"
            for name, value in {"Content-Type": "application/json", **headers}.items()
        ),
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body
