"""Downloads against a server on this machine that breaks in every way."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from codivide.core.errors import InputError
from codivide.data import download, named
from codivide.data.download import Remote, extract, fetch

BODY = bytes(range(256)) * 4000


class Server:
    """Serves ``body``; ``plan`` says how each request in turn is answered, the last one for all further ones."""

    def __init__(self):
        self.body = BODY
        self.plan = ["whole"]
        self.ranges = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/data.bin"

    def answer(self, request):
        how = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        if isinstance(how, int):
            request.send_error(how)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and how != "no ranges" else 0
        if start > len(self.body):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            first = start + 1 if how == "other range" else start
            request.send_header("Content-Range", f"bytes {first}-{len(self.body) - 1}/{len(self.body)}")
        request.send_header("Content-Length", str(len(self.body) - start))
        request.end_headers()
        rest = self.body[start:]
        request.wfile.write(rest[: len(rest) // 2] if how == "cut" else rest)


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def remote(server, **changes):
    md5 = hashlib.md5(server.body).hexdigest()
    return Remote(**{"url": server.url, "file": "sub/data.bin", "md5": md5, **changes})


def get(server, root, **options):
    return fetch(remote(server), root, **{"wait": 0.01, "timeout": 5, **options})


def test_a_file_arrives(server, tmp_path):
    path = get(server, tmp_path)
    assert path == tmp_path / "sub" / "data.bin"
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]


def test_a_wrong_checksum_removes_the_file_and_names_both(server, tmp_path):
    with pytest.raises(InputError, match=f"{hashlib.md5(BODY).hexdigest()}.*not {'0' * 32}"):
        fetch(remote(server, md5="0" * 32), tmp_path)
    assert list((tmp_path / "sub").iterdir()) == []


def test_an_interruption_is_resumed_where_it_was(server, tmp_path):
    server.plan = ["cut", "whole"]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={len(BODY) // 2}-"]


def test_the_next_call_resumes_what_the_last_one_left(server, tmp_path):
    server.plan = ["cut"]
    with pytest.raises(InputError, match="connection ended after"):
        get(server, tmp_path, attempts=2)
    part = tmp_path / "sub" / "data.bin.part"
    left = part.stat().st_size
    assert left == len(BODY) * 3 // 4
    server.plan = ["whole"]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.ranges[-1] == f"bytes={left}-"
    assert not part.exists()


@pytest.mark.parametrize("how", ["no ranges", "other range"])
def test_a_server_that_cannot_resume(server, tmp_path, how):
    server.plan = ["cut", how, "no ranges"]
    assert get(server, tmp_path).read_bytes() == BODY


def test_a_part_that_is_too_long_or_foreign(server, tmp_path):
    (tmp_path / "sub").mkdir()
    part = tmp_path / "sub" / "data.bin.part"
    part.write_bytes(BODY + b"more")
    assert get(server, tmp_path).read_bytes() == BODY
    part.write_bytes(b"foreign")
    with pytest.raises(InputError, match="checksum"):
        get(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == BODY


def test_trouble_of_the_server_is_tried_again(server, tmp_path):
    server.plan = [500, 503, "whole"]
    assert get(server, tmp_path).read_bytes() == BODY
    server.plan = [500]
    server.ranges.clear()
    with pytest.raises(InputError, match="500"):
        get(server, tmp_path, attempts=2)
    assert len(server.ranges) == 2


def test_a_refusal_is_final(server, tmp_path):
    server.plan = [404]
    with pytest.raises(InputError, match=f"{server.url} cannot be downloaded to .*404"):
        get(server, tmp_path)
    assert len(server.ranges) == 1


def test_no_server_and_no_folder(server, tmp_path):
    with pytest.raises(InputError, match="cannot be downloaded"):
        fetch(remote(server, url="http://127.0.0.1:1/x"), tmp_path, wait=0.01)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be downloaded"):
        get(server, tmp_path / "file")


def archive(members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def test_an_archive_is_unpacked_and_removed(server, tmp_path):
    server.body = archive({"set/a.bin": b"new", "set/b.bin": b"b"})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin").write_bytes(b"old")
    fetch(remote(server, file="set.tar.gz", unpack=True), tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == {"a.bin": b"new", "b.bin": b"b"}
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_archive_cannot_write_outside(server, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "x.tar.gz").write_bytes(archive({"../evil": b"!"}))
    with pytest.raises(tarfile.TarError):
        extract(root / "x.tar.gz", root)
    server.body = archive({"../evil": b"!"})
    with pytest.raises(InputError, match="outside"):
        fetch(remote(server, file="y.tar.gz", unpack=True), root)
    assert not (tmp_path / "evil").exists()


def test_a_named_set_is_fetched_once(server, tmp_path, monkeypatch):
    record = bytes([3]) + bytes(3072)
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    server.body = archive({f"cifar-10-batches-bin/{name}.bin": record * 2 for name in names})
    monkeypatch.setitem(download.REMOTES, "cifar10", (remote(server, file="c.tar.gz", unpack=True),))
    for _ in range(2):
        assert len(named.load("cifar10", tmp_path).y) == 10
    assert len(server.ranges) == 1
    server.plan = [404]
    with pytest.raises(InputError, match=r"mnist is not below.*CODIVIDE_DATA"):
        named.load("mnist", tmp_path, download=False)
