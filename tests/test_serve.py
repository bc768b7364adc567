"""The local server: what it saves is saved, and nobody else gets anything out of it or into it."""

import csv
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import sqlite3
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from codivide import InputError
from codivide.audit import serve
from codivide.audit.decisions import FILE, Decisions, export
from codivide.cli import clean as cli
from codivide.cli.app import main
from codivide.data import corrections
from codivide.data.corrections import Known
from tests.forked import children, forked

CLASSES = ["cat", "dog"]
IDS = ["a.png", "=b.png", "c.png", "none.png"]
GIVEN = ["cat", "dog", "cat", None]


def run_folder(folder: Path) -> Path:
    folder.mkdir()
    table = pd.DataFrame({"path": IDS, "given": GIVEN, "suggested": "dog", "clean_prob": [0.1, 0.9, 0.5, None]})
    table.to_parquet(folder / "labels.parquet")
    source = {"path": str(folder.parent / "photos")}
    (folder / "summary.json").write_text(json.dumps({"classes": CLASSES, "source": source}))
    (folder / "config.json").write_text(json.dumps({"version": "0", "method": "gce", "plan": {}}))
    return folder


@pytest.fixture
def site(tmp_path):
    """A server in a thread over three files: an image, one that calls itself a page, and one that is gone."""
    run = run_folder(tmp_path / "run")
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "b.html").write_text("<script>alert(1)</script>")
    (tmp_path / "secret").write_text("secret")
    files = {0: tmp_path / "a.png", 1: tmp_path / "b.html", 2: tmp_path / "gone.png", 3: tmp_path}
    known = Known.of(IDS, GIVEN, CLASSES)
    decisions = serve.open_decisions(run, known)
    server = serve.Server(lambda token: f"<html>{token}</html>", known, decisions, files)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    decisions.close()


def ask(server, where, method="GET", body=None, token=True, host=None, origin=None, **headers):
    """Status, headers and body of one request, by default as the page would make it."""
    connection = http.client.HTTPConnection(serve.HOST, server.server_port, timeout=10)
    connection.putrequest(method, where if where.startswith("/") else f"/{server.token}/{where}", skip_host=True)
    names = {"Host": host or f"127.0.0.1:{server.server_port}"}
    if origin:
        names["Origin"] = origin
    if method == "POST":
        names |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        names |= {serve.TOKEN: server.token if token is True else token} if token else {}
    for name, value in {**names, **{key.replace("_", "-"): value for key, value in headers.items()}}.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def post(server, row, **named):
    status, _, body = ask(server, "api/decisions", "POST", json.dumps(row).encode(), **named)
    return status, json.loads(body)


ROW = {"id": "a.png", "given": "cat", "decision": "accept", "label": "dog"}


def test_it_is_only_reached_from_this_machine(site):
    assert site.server_address[0] == "127.0.0.1"
    assert re.fullmatch(rf"http://127\.0\.0\.1:{site.server_port}/[\w-]{{32}}/", site.address)


def test_the_page_and_its_headers(site):
    status, headers, body = ask(site, "")
    assert (status, body) == (200, f"<html>{site.token}</html>".encode())
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert ask(site, "", host=f"localhost:{site.server_port}")[0] == 200


def test_decisions_are_saved_at_once_and_the_last_one_counts(site, tmp_path):
    status, saved = post(site, ROW)
    assert status == 200
    assert saved.items() >= ROW.items()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", saved["time"])
    assert post(site, {"id": "=b.png", "given": "dog", "decision": "junk", "label": ""})[0] == 200
    assert post(site, {"id": "c.png", "given": "cat", "decision": "keep"})[0] == 200
    assert post(site, {"id": "none.png", "given": None, "decision": "relabel", "label": "cat"})[0] == 200
    assert post(site, {**ROW, "decision": "relabel", "label": "cat"})[0] == 200
    assert json.loads(ask(site, "api/decisions")[2])[1].items() >= {"decision": "keep", "label": "cat"}.items()
    assert post(site, {"id": "c.png", "decision": None}) == (200, None)
    held = json.loads(ask(site, "api/decisions")[2])
    assert [(row["id"], row["decision"], row["label"]) for row in held] == [
        ("=b.png", "junk", ""), ("none.png", "relabel", "cat"), ("a.png", "relabel", "cat"),
    ]  # fmt: skip
    status, headers, body = ask(site, "corrections.csv")
    assert headers["Content-Disposition"] == 'attachment; filename="corrections.csv"'
    rows = list(csv.reader(io.StringIO(body.decode(), newline="")))
    assert [row[:4] for row in rows] == [
        ["id", "given", "decision", "label"],
        ["'=b.png", "dog", "junk", ""], ["none.png", "", "relabel", "cat"], ["a.png", "cat", "relabel", "cat"],
    ]  # fmt: skip
    (tmp_path / "c.csv").write_bytes(body)
    corrections.read(tmp_path / "c.csv").check(site.known)
    with sqlite3.connect(tmp_path / "run" / FILE) as file:
        assert file.execute("select count(*) from decisions").fetchone() == (6,)
        assert file.execute("pragma journal_mode").fetchone() == ("delete",)


def test_an_undo_takes_back_the_decision_that_it_names_alone(site):
    first = post(site, ROW)[1]
    time.sleep(0.002)  # times have milliseconds
    second = post(site, ROW | {"decision": "keep", "label": ""})[1]
    undo = ROW | {"decision": None, "label": "", "undoes": first["time"]}
    for back in (undo, ROW | {"undoes": first["time"]}, undo | {"undoes": ""}):
        status, said = post(site, back)
        assert status == 409
        assert said == {"error": "another decision on 'a.png' has come since; it stays", "current": second}
    assert [row.decision for row in site.decisions.current()] == ["keep"]
    assert post(site, undo | {"undoes": second["time"]}) == (200, None)
    assert post(site, undo) == (200, None)  # there is none any more
    assert site.decisions.current() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"id": "z.png"}, 422, id="another id"),
        pytest.param({"given": "dog"}, 422, id="another given label"),
        pytest.param({"label": "cow"}, 422, id="no class"),
        pytest.param({"decision": "delete"}, 422, id="no decision"),
        pytest.param({"label": ""}, 422, id="no label"),
        pytest.param({"decision": None, "id": "z.png"}, 422, id="undo of another id"),
        pytest.param({"decision": False}, 400, id="decision no text"),
        pytest.param({"id": ["a.png"]}, 400, id="id no text"),
        pytest.param({"label": "\ud800"}, 400, id="half a character"),
    ],
)
def test_a_decision_that_does_not_fit_is_not_saved(site, change, status):
    found, answer = post(site, {**ROW, **change})
    assert found == status
    assert answer["error"]
    assert site.decisions.current() == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"a"', b"{}", b"[" * 100_000, b"\xff", b'{"decision": NaN}']
)
def test_a_body_that_is_no_decision_is_not_saved(site, body):
    status, _, answer = ask(site, "api/decisions", "POST", body)
    assert status in (400, 422)
    assert json.loads(answer)["error"]
    assert site.decisions.current() == []
    assert post(site, ROW)[0] == 200


@pytest.mark.parametrize(
    ("named", "status"),
    [
        pytest.param({"token": None}, 403, id="no token"),
        pytest.param({"token": "x" * 32}, 403, id="wrong token"),
        pytest.param({"token": "\xff"}, 403, id="odd token"),
        pytest.param({"origin": "http://evil.example"}, 403, id="origin"),
        pytest.param({"origin": "null"}, 403, id="no one's origin"),
        pytest.param({"host": "evil.example"}, 421, id="host"),
        pytest.param({"Content_Type": "text/plain"}, 415, id="a form"),
        pytest.param({"Content_Length": None}, 411, id="no length"),
        pytest.param({"Content_Length": "-1"}, 411, id="negative length"),
        pytest.param({"Content_Length": "+5"}, 411, id="odd length"),
        pytest.param({"Transfer_Encoding": "chunked"}, 411, id="chunked"),
        pytest.param({"Content_Length": str(serve.LARGEST + 1)}, 413, id="oversize"),
        pytest.param({"Content_Length": "9" * 5000}, 413, id="enormous"),
    ],
)
def test_a_write_that_the_page_did_not_make_is_refused(site, named, status):
    assert post(site, ROW, **named)[0] == status
    assert site.decisions.current() == []


def test_a_body_that_ends_early_is_not_saved(site):
    with socket.create_connection((serve.HOST, site.server_port), timeout=10) as line:
        head = f"POST /{site.token}/api/decisions HTTP/1.1\r\nHost: 127.0.0.1:{site.server_port}\r\n"
        head += f"{serve.TOKEN}: {site.token}\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
        line.sendall(head.encode() + json.dumps(ROW).encode())
        line.shutdown(socket.SHUT_WR)
        assert b" 400 " in line.recv(100)
    assert site.decisions.current() == []


@pytest.mark.parametrize("where", ["", "api/decisions", "corrections.csv", "original/0"])
def test_reading_needs_the_address_the_host_and_no_other_origin(site, where):
    assert ask(site, where)[0] == 200
    assert ask(site, where, origin=f"http://127.0.0.1:{site.server_port}")[0] == 200
    for host in ("evil.example", f"evil.example:{site.server_port}", "127.0.0.1", "127.0.0.1:1", ""):
        assert ask(site, where, host=host or "x")[0] == 421
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{site.server_port}"):
        assert ask(site, where, origin=origin)[0] == 403
    for path in (
        f"/{where}",
        f"/wrong/{where}",
        f"/{site.token[:-1]}/{where}",
        f"/{site.token}x/{where}",
        f"/%2e/{where}",
    ):
        status, _, body = ask(site, path)
        assert status == 404
        assert site.token.encode() not in body
    assert ask(site, f"/{site.token}")[0] == 404


def test_a_request_of_two_hosts_is_refused(site):
    with socket.create_connection((serve.HOST, site.server_port), timeout=10) as line:
        host = f"Host: 127.0.0.1:{site.server_port}\r\n"
        line.sendall(f"GET /{site.token}/ HTTP/1.1\r\n{host}Host: evil.example\r\n\r\n".encode())
        assert b" 421 " in line.recv(100)


def test_originals_are_those_of_the_list(site):
    status, headers, body = ask(site, "original/0")
    assert (status, body, headers["Content-Type"]) == (200, b"picture", "image/png")
    assert "default-src 'none'; sandbox" in headers["Content-Security-Policy"]
    status, headers, body = ask(site, "original/1")
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment"


@pytest.mark.parametrize(
    "where",
    [
        *("original/2", "original/3", "original/4", "original/-1", "original/", "original/00000000000000000000"),
        *("original/../secret", "original/..%2fsecret", "../secret", "..%2f..%2fetc/passwd", "original/0/../../secret"),
        *("original//etc/passwd", "original/%D9%A1", "original/0%00", "decisions.sqlite"),
        *("api/decisions/", "api", "original/0;", "./original/0", "//original/0"),
    ],
)
def test_nothing_else_is_served(site, where):
    where = f"/{site.token}/{where}"
    status, _, body = ask(site, where)
    assert status == 404
    assert b"secret" not in body
    assert b"root:" not in body


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_do_not_exist(site, method):
    assert ask(site, "api/decisions", method)[0] == 501
    assert ask(site, "corrections.csv", "POST", b"{}")[0] == 404


def test_writers_at_the_same_time_lose_nothing(site, tmp_path):
    """Threads by the server and by a second opening of the file, as another process has it."""
    other = Decisions(tmp_path / "run" / FILE)
    failures = []

    def write(k):
        for n in range(10):
            label = CLASSES[(k + n) % 2]
            if k % 2:
                other.save("a.png", "cat", "relabel", label)
            elif post(site, {**ROW, "decision": "relabel", "label": label})[0] != 200:
                failures.append((k, n))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with sqlite3.connect(tmp_path / "run" / FILE) as file:
        rows = file.execute("select label from decisions order by number").fetchall()
    assert len(rows) == 60
    assert [row.label for row in other.current()] == [rows[-1][0]]
    assert site.decisions.current() == other.current()
    other.close()


def decide_and_die(path):
    with Decisions(path) as decisions:
        for number in range(30):
            decisions.save(f"{number}", "cat", "relabel", "dog")
            if number == 20:
                os.kill(os.getpid(), signal.SIGKILL)
            print(number, flush=True)


@forked
@pytest.mark.process
def test_a_kill_between_writes_loses_nothing_that_was_answered(tmp_path):
    path = tmp_path / FILE
    done = children.run(lambda: decide_and_die(path), tmp_path)
    assert done.signal == signal.SIGKILL, done.err
    assert done.out.split() == [str(k) for k in range(20)]
    with Decisions(path) as decisions:
        assert [row.id for row in decisions.current()] == [str(k) for k in range(21)]  # the last was not answered
        decisions.save("after", "cat", "keep", "")
        assert decisions.current()[-1].id == "after"


def test_decisions_of_another_run_are_not_mixed_in(tmp_path):
    run = run_folder(tmp_path / "run")
    with Decisions(run / FILE) as decisions:
        decisions.save("a.png", "dog", "keep", "")
    with pytest.raises(InputError, match=r"decisions.sqlite: 'a.png' was decided on with 'dog'.*move the file away"):
        serve.open_decisions(run, Known.of(IDS, GIVEN, CLASSES))
    (run / FILE).write_bytes(b"no data base" * 100)
    with pytest.raises(InputError, match="cannot be used"):
        Decisions(run / FILE)


def test_a_new_class_that_was_decided_on_is_exported_without_being_allowed_again(tmp_path, capsys):
    run = run_folder(tmp_path / "run")
    with Decisions(run / FILE) as decisions:
        decisions.save("a.png", "cat", "keep", "")
        assert not serve.named_new(decisions, Known.of(IDS, GIVEN, CLASSES))
        decisions.save("a.png", "cat", "relabel", "zebra")
        assert serve.named_new(decisions, Known.of(IDS, GIVEN, CLASSES))
    cli.serve(run, export=True)
    assert "1 decision" in capsys.readouterr().out
    assert "a.png,cat,relabel,zebra" in (run / "corrections.csv").read_text(encoding="utf-8")


def test_the_command_serves_the_page_of_the_run(tmp_path, monkeypatch, capsys):
    run = run_folder(tmp_path / "run")
    asked = []
    facts = SimpleNamespace(
        collect=lambda folder: {"name": str(folder)}, originals=lambda folder: {0: tmp_path / "a.png"}
    )
    render = SimpleNamespace(page=lambda facts, served: f"{facts['name']} {served['token']}")
    monkeypatch.setitem(sys.modules, "codivide.audit.facts", facts)
    monkeypatch.setitem(sys.modules, "codivide.audit.render", render)

    def stopped(server):
        asked.append((server.page.decode(), server.token, server.originals))
        raise KeyboardInterrupt

    monkeypatch.setattr(serve.Server, "serve_forever", stopped)
    monkeypatch.setattr(sys, "argv", ["codivide", "serve", str(run)])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    ((page, token, originals),) = asked
    assert page == f"{run} {token}"
    assert originals == {0: tmp_path / "a.png"}
    said = capsys.readouterr()
    assert re.search(rf"open http://127\.0\.0\.1:\d+/{token}/", said.out)
    assert "all decisions are saved" in said.err


def test_a_run_has_a_port_of_its_own_while_that_is_free(tmp_path):
    port = serve.port_of(tmp_path / "run")
    assert port == serve.port_of(tmp_path / "x" / ".." / "run") != serve.port_of(tmp_path / "other")
    assert 49152 <= port <= 65535
    with socket.create_server((serve.HOST, 0)) as taken:
        number = taken.getsockname()[1]
        assert not serve.is_free(number)
    assert serve.is_free(number)


def test_the_command_exports(tmp_path, monkeypatch, capsys):
    run = run_folder(tmp_path / "run")
    with Decisions(run / FILE) as decisions:
        decisions.save("=b.png", "dog", "relabel", "cat")
    monkeypatch.setattr(sys, "argv", ["codivide", "serve", str(run), "--export"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    assert "1 decision:" in capsys.readouterr().out
    (row,) = corrections.read(run / "corrections.csv").rows
    assert (row.id, row.given, row.decision, row.label) == ("=b.png", "dog", "relabel", "cat")


def test_an_export_never_replaces_decisions_that_the_history_does_not_have(tmp_path, monkeypatch, capsys):
    run = run_folder(tmp_path / "run")
    target = run / "corrections.csv"
    by_hand = [corrections.Correction("=b.png", "dog", "keep"), corrections.Correction("a.png", "cat", "junk")]
    corrections.write(target, by_hand)
    held = target.read_bytes()
    monkeypatch.setattr(sys, "argv", ["codivide", "serve", str(run), "--export"])
    for save in (False, True):  # without any decision of its own, and with one
        if save:
            with Decisions(run / FILE) as decisions:
                decisions.save("=b.png", "dog", "relabel", "cat")
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 2
        assert "holds 2 decisions that decisions.sqlite does not have" in capsys.readouterr().err
        assert target.read_bytes() == held


def test_an_export_follows_its_own_history_and_writes_nothing_for_nothing(tmp_path):
    target = tmp_path / "corrections.csv"
    with Decisions(tmp_path / FILE) as decisions:
        assert export(decisions, target) == 0
        assert not target.exists()
        decisions.save("a", "cat", "keep", "")
        decisions.save("b", "cat", "relabel", "dog")
        assert export(decisions, target) == 2
        decisions.save("b", "cat", "junk", "")  # another mind
        decisions.save("a", "cat", None, "")  # undone
        assert export(decisions, target) == 1
        assert [(row.id, row.decision) for row in corrections.read(target).rows] == [("b", "junk")]
        decisions.save("b", "cat", None, "")
        assert export(decisions, target) == 0
        assert len(corrections.read(target).rows) == 1  # an empty file replaces nothing
        target.write_text("nonsense")
        with pytest.raises(InputError, match="needs one column"):
            export(decisions, target)


@pytest.fixture
def history(tmp_path):
    """A file of five decisions."""
    with Decisions(tmp_path / FILE) as decisions:
        for k in range(5):
            decisions.save(f"{k}.png", "cat", "relabel", "dog")
    return tmp_path / FILE


def test_decisions_that_were_changed_or_lost_are_noticed(history):
    held, rng = history.read_bytes(), random.Random(0)
    with Decisions(history) as decisions:
        before = decisions.current()
    said = []
    for number in range(120):
        data = bytearray(held)
        place = held.rindex(b"dog") - number if number < 60 else rng.randrange(len(held))
        data[place] ^= 1 << rng.randrange(8)
        history.write_bytes(bytes(data))
        try:
            with Decisions(history) as decisions:
                assert decisions.current() == before
        except InputError as error:
            said.append(str(error))
    assert all(FILE in text for text in said)
    assert len(said) > 60
    for content in (b"", held[:100], held[: len(held) // 2], held[:-4096]):
        history.write_bytes(content)
        with pytest.raises(InputError, match=FILE):
            Decisions(history)


def test_a_lost_last_decision_is_noticed(history):
    with sqlite3.connect(history) as file:
        file.execute("delete from decisions where number = 5")
    with pytest.raises(InputError, match="last decisions are missing"):
        Decisions(history)


def test_decisions_of_an_older_version_go_on(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("pragma journal_mode = wal")
        file.execute(
            "create table decisions (number integer primary key autoincrement, id text not null, given text not null, "
            "decision text, label text not null, time text not null)"
        )
        file.execute("insert into decisions (id, given, decision, label, time) values ('a', 'cat', 'junk', '', 't')")
    file.close()
    for k in range(2):
        with Decisions(tmp_path / FILE) as decisions:
            decisions.save(f"{k}", "cat", "junk", "")
            assert [row.id for row in decisions.current()] == ["a", "0", "1"][: 2 + k]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("update decisions set label = 'dog' where id = 'a'")
    with pytest.raises(InputError, match="decision 2 is not what was written"):
        Decisions(tmp_path / FILE)


def test_a_client_that_sends_a_byte_now_and_then_is_dropped(site, monkeypatch):
    monkeypatch.setattr(serve.Server, "longest", 0.2)
    with socket.create_connection((serve.HOST, site.server_port)) as slow:
        slow.settimeout(0.1)
        for _ in range(600):  # as long as it takes; it would go on for ever
            try:
                slow.sendall(b"G")
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("the connection is still open")
    assert ask(site, "")[0] == 200
