"""The API spoken byte by byte over TLS, with the administrator's certificate: no client's good manners."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

JSON = "application/json"
YAML = "application/yaml"
MERGE = "application/merge-patch+json"


class Answer:
    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def warnings(self) -> list[str]:
        return self.headers.get_all("Warning") or []

    def refused(self, status: int, reason: str, *words: str) -> None:
        """It is a Status of that code and reason whose message has the words."""
        assert self.status == status, self.body[:500]
        told = self.json
        assert (told["kind"], told["apiVersion"], told["status"]) == ("Status", "v1", "Failure")
        assert (told["code"], told.get("reason", "")) == (status, reason), told
        for word in words:
            assert word in told["message"], told["message"]


class Wire:
    """One running cluster's address. ``root`` is where its file system is seen from here."""

    def __init__(self, data: Path, root: Path = Path("/")) -> None:
        inside = root / data.relative_to("/")
        state = json.loads((inside / "run" / "kubernel.json").read_text())
        address = urlsplit(state["url"])
        self.pid: int = state["pid"]
        self.host = address.hostname or ""
        self.port = address.port or 0
        pki = inside / "pki"
        self.context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def connect(self, receive_buffer: int = 0) -> ssl.SSLSocket:
        plain = self.tcp(receive_buffer)
        return self.context.wrap_socket(plain, server_hostname=self.host)

    def tcp(self, receive_buffer: int = 0) -> socket.socket:
        plain = socket.socket()
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(60)
        plain.connect((self.host, self.port))
        return plain

    def __call__(self, method: str, path: str, body: Any = None, type: str = JSON, **headers: str) -> Answer:
        """One request on a connection of its own; bodies that are no bytes are sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=60)
        try:
            connection.request(
                method, path, data, {"Content-Type": type, **headers} if data is not None else headers
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def memory(self) -> int:
        """Bytes of the server that are resident."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
