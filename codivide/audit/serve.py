"""The audit page over a server of one's own machine, which saves every decision at once.

Who may do what: the server listens on 127.0.0.1 only. Every address begins with a random token, compared in constant
time, so another user of the machine finds nothing. The ``Host`` must be this server's, which stops a page that points
its own name at 127.0.0.1 (DNS rebinding); an ``Origin``, where there is one, must be too, and a write needs the token
again in the header ``X-Codivide-Token``, which no page of another origin can send. Nothing is looked up by a path that
comes from outside: originals go by the number of their row. Each start has a new token; the page keeps decisions that
have not arrived in the browser's storage, never the token, and the page of the next start sends them. For that both
must have one origin, so a run has a port of its own (``port_of``).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import mimetypes
import os
import re
import secrets
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from codivide.audit.decisions import FILE, Decisions, Overtaken
from codivide.core.errors import InputError
from codivide.data import corrections
from codivide.data.corrections import Correction, Known

HOST = "127.0.0.1"
TOKEN = "X-Codivide-Token"
LARGEST = 1 << 20  # bytes of a decision: ids and labels of 10,000 characters fit, escaped in JSON
_ORIGINAL = re.compile(r"original/([0-9]{1,9})")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # the address holds the token
    "Cache-Control": "no-store",
}
_ALONE = {"Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'"}  # a file is no page


class Refused(Exception):
    """An answer other than 200: its status, why, and the decision that stays where that is the reason."""

    def __init__(self, status: HTTPStatus, reason: str, current: Correction | None = None) -> None:
        super().__init__(reason)
        self.status, self.current = status, current


class Server(ThreadingHTTPServer):
    """The page, its decisions and its originals.

    Args:
        page: makes the page, given the token.
        known: the samples and classes that decisions are checked against.
        decisions: where they are saved.
        originals: file of a row, for the rows that have one.
        port: 0: any that is free.

    Attributes:
        address: what to open in a browser.
    """

    daemon_threads = True
    longest: ClassVar[float] = 60  # seconds of a request, however slowly its bytes come

    def __init__(
        self,
        page: Callable[[str], str],
        known: Known,
        decisions: Decisions,
        originals: Mapping[int, Path],
        port: int = 0,
    ) -> None:
        self.known, self.decisions, self.originals = known, decisions, originals
        self.token = secrets.token_urlsafe(24)
        self.page = page(self.token).encode()
        self._began: dict[Any, float] = {}  # of the connections that are open
        super().__init__((HOST, port), Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.origins = {f"http://{host}" for host in self.hosts}
        self.address = f"http://{HOST}:{self.server_port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; note when it began."""
        self._began[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._began.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections that are open for too long: a byte a second would keep a thread for ever."""
        for request, began in list(self._began.items()):
            if time.monotonic() - began > self.longest:
                with suppress(OSError):  # it has just been closed
                    request.shutdown(socket.SHUT_RDWR)

    def save(self, body: bytes) -> Correction | None:
        """Save a decision in JSON; None for an undoing."""
        try:
            item = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body is no JSON") from None
        if not isinstance(item, dict) or "decision" not in item:
            raise Refused(HTTPStatus.BAD_REQUEST, "a decision is an object of id, given, decision and label")
        name, given, label = (_text(item.get(key)) for key in ("id", "given", "label"))
        decision, undoes = (None if item.get(key) is None else _text(item[key]) for key in ("decision", "undoes"))
        if decision is None and name not in self.known.given:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "no sample of this run has this id")
        try:
            if decision is not None:
                self.known.check(Correction(name, given, decision, label))
            else:
                given, label = self.known.given[name], ""
            return self.decisions.save(name, given, decision, label, undoes=undoes)
        except InputError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except Overtaken as error:
            raise Refused(HTTPStatus.CONFLICT, str(error), error.current) from None


class Handler(BaseHTTPRequestHandler):
    """One request; HTTP/1.0, so that a connection holds no more than that."""

    server: Server
    server_version = "codivide"
    sys_version = ""
    timeout: ClassVar[float] = 30  # a client that says nothing holds a thread no longer

    def do_GET(self) -> None:
        """The page, the decisions as JSON or as a file, or an original."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Save a decision."""
        self._answer(self._post)

    def _get(self) -> None:
        where = self._where()
        if where == "":
            self._send(self.server.page, "text/html; charset=utf-8")
        elif where == "api/decisions":
            self._send_json([as_json(row) for row in self.server.decisions.current()])
        elif where == "corrections.csv":
            text = corrections.table(self.server.decisions.current())
            extra = {"Content-Disposition": 'attachment; filename="corrections.csv"'}
            self._send(text.encode(), "text/csv; charset=utf-8", extra | _ALONE)
        elif found := _ORIGINAL.fullmatch(where):
            self._send_file(self.server.originals.get(int(found[1])))
        else:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self) -> None:
        if self._where() != "api/decisions":
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        if not _same(self.headers.get(TOKEN, ""), self.server.token):
            raise Refused(HTTPStatus.FORBIDDEN, f"a write needs the token in the header {TOKEN}")
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a decision is application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the length of the body must be said")
        if len(length) > 9 or int(length) > LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a decision has at most {LARGEST} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body is shorter than was said")
        saved = self.server.save(body)
        self._send_json(None if saved is None else as_json(saved))

    def _where(self) -> str:
        """The part of the address behind the token, which must be right, as must ``Host`` and ``Origin``."""
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        if len(hosts) != 1 or hosts[0] not in self.server.hosts:
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "this server is called something else")
        if not set(origins) <= self.server.origins:
            raise Refused(HTTPStatus.FORBIDDEN, "another page may not ask this server")
        token, slash, where = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not slash or not _same(token, self.server.token):
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here; use the whole address that was printed")
        return where

    def _answer(self, how: Callable[[], None]) -> None:
        try:
            try:
                how()
            except Refused as refused:
                self._refuse(refused.status, str(refused), refused.current)
            except sqlite3.Error as error:  # a full disk
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"not saved: {error}")
        except OSError:  # the browser went away
            self.close_connection = True

    def _refuse(self, status: HTTPStatus, reason: str, current: Correction | None = None) -> None:
        """Say why, and read on for a moment: a connection closed on unread bytes may lose the answer."""
        said = {"error": reason} | ({} if current is None else {"current": as_json(current)})
        self._send(json.dumps(said).encode(), "application/json", _ALONE, status)
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(1)
        left = LARGEST
        while left > 0 and (part := self.rfile.read1(1 << 16)):
            left -= len(part)

    def _send_json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), "application/json", _ALONE)

    def _send(
        self, body: bytes, kind: str, extra: Mapping[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self._begin(status, kind, len(body), extra or {})
        self.wfile.write(body)

    def _send_file(self, path: Path | None) -> None:
        try:
            if path is None or not path.is_file():  # a pipe would never end
                raise FileNotFoundError
            file = path.open("rb")
        except (OSError, ValueError):
            raise Refused(HTTPStatus.NOT_FOUND, "this row has no file that can be read") from None
        with file:
            kind = mimetypes.guess_type(path.name)[0] or ""
            image = kind.startswith("image/")
            extra = _ALONE if image else _ALONE | {"Content-Disposition": "attachment"}
            length = os.fstat(file.fileno()).st_size
            self._begin(HTTPStatus.OK, kind if image else "application/octet-stream", length, extra)
            shutil.copyfileobj(file, self.wfile)

    def _begin(self, status: HTTPStatus, kind: str, length: int, extra: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | {"Content-Type": kind, "Content-Length": str(length)} | dict(extra)).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *words: Any) -> None:
        """Nothing: the addresses hold the token."""


def as_json(row: Correction) -> dict[str, str]:
    """A decision as the page knows it: a kept label, too, has its class."""
    return {name: getattr(row, name) for name in corrections.COLUMNS} | {"label": row.final or ""}


def _text(value: object) -> str:
    """A text that can be stored; None is the empty one."""
    text = "" if value is None else value
    if not isinstance(text, str):
        raise Refused(HTTPStatus.BAD_REQUEST, "id, given, decision and label are texts")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(HTTPStatus.BAD_REQUEST, "a text holds half of a character") from None
    return text


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())


def port_of(run: Path) -> int:
    """The port that a run's folder is served at where it is free, 49152 to 65535; it is no secret."""
    digest = hashlib.sha256(os.fsencode(run.resolve())).digest()
    return 49152 + int.from_bytes(digest[:4]) % (65536 - 49152)


def is_free(port: int) -> bool:
    """Whether this machine's port has no server."""
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asked.bind((HOST, port))
        except OSError:
            return False
    return True


def open_decisions(run: Path, known: Known) -> Decisions:
    """The decisions on a run, made if there are none.

    Raises:
        InputError: they are of another run that was in the same folder.
    """
    decisions = Decisions(run / FILE)
    try:
        for row in decisions.current():
            known.check(row)
    except InputError as error:
        decisions.close()
        raise InputError(f"{run / FILE}: {error}; move the file away to begin again") from None
    return decisions


def named_new(decisions: Decisions, known: Known) -> bool:
    """Whether somebody has named a class that is new, as a server that allowed it let them."""
    return not known.new_classes and any(row.final not in {None, *known.classes} for row in decisions.current())
