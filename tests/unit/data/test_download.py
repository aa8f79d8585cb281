"""Downloads from a server on this machine: what is right lands in place, what is wrong leaves nothing."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from marquee.data.download import download
from marquee.data.download_config import DerivedTableConfig, DownloadConfig, DownloadedFileConfig
from marquee.data.table_config import TableConfig, TableFormat
from marquee.errors import ConfigError, DownloadError

BODY = b"user_id,item_id,timestamp\nu,i,5\n"
SHA = "sha256:" + hashlib.sha256(BODY).hexdigest()
SOME_SHA = "sha256:" + "0" * 64


def md5_of(body: bytes) -> str:
    return "md5:" + hashlib.md5(body).hexdigest()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Publisher(BaseHTTPRequestHandler):
    """Serves `bodies`; says too great a length of what begins with `truncated`, none of `unsized`."""

    bodies: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = self.bodies.get(self.path)
        self.send_response(200 if body is not None else 404)
        if body is not None and not self.path.startswith("/unsized"):
            self.send_header("Content-Length", str(len(body) + 100 * self.path.startswith("/truncated")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def publish(path: str, body: bytes) -> None:
    Publisher.bodies[path] = body


def fetch(
    folder: Path, *files: DownloadedFileConfig, derived: list[DerivedTableConfig] | None = None
) -> list[Path]:
    return download(DownloadConfig(page="its page", files=list(files), derived=derived or []), folder)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["/events.csv", "/unsized.csv"])
@pytest.mark.parametrize("checksum", [SHA, md5_of(BODY)], ids=["sha256", "md5"])
def test_file_lands_in_place(tmp_path: Path, address: str, path: str, checksum: str) -> None:
    publish(path, BODY)
    file = DownloadedFileConfig(url=address + path, checksum=checksum, path="deep/e.csv")
    assert fetch(tmp_path / "new", file) == [tmp_path / "new" / "deep" / "e.csv"]
    assert (tmp_path / "new" / "deep" / "e.csv").read_bytes() == BODY
    assert names_in(tmp_path) == ["new/deep/e.csv"]


def test_progress_is_told(tmp_path: Path, address: str) -> None:
    publish("/large.bin", b"x" * 3_000_000)
    told: list[tuple[int, int | None]] = []
    file = DownloadedFileConfig(
        url=f"{address}/large.bin", checksum=md5_of(b"x" * 3_000_000), path="large.bin"
    )
    download(DownloadConfig(page="p", files=[file]), tmp_path, lambda done, total: told.append((done, total)))
    assert told[-1] == (3_000_000, 3_000_000)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > 1


def test_members_of_an_archive_go_where_they_belong(tmp_path: Path, address: str) -> None:
    body = zip_of({"ml/u.data": b"ratings", "ml/u.item": b"films", "ml/other": b"not asked for"})
    publish("/a.zip", body)
    members = {"u.data": "ml/u.data", "films/u.item": "ml/u.item"}
    fetch(tmp_path, DownloadedFileConfig(url=f"{address}/a.zip", checksum=md5_of(body), members=members))
    assert names_in(tmp_path) == ["films/u.item", "u.data"]
    assert (tmp_path / "films" / "u.item").read_bytes() == b"films"


def test_member_may_vouch_for_itself(tmp_path: Path, address: str) -> None:
    publish("/b.zip", zip_of({"e.csv": BODY}))
    url = f"{address}/b.zip"
    fetch(
        tmp_path, DownloadedFileConfig(url=url, members={"e.csv": "e.csv"}, member_checksums={"e.csv": SHA})
    )
    assert names_in(tmp_path) == ["e.csv"]


def test_wrong_member_is_not_kept(tmp_path: Path, address: str) -> None:
    publish("/c.zip", zip_of({"a": b"right", "b": b"wrong"}))
    sums = {"a": md5_of(b"right"), "b": md5_of(b"other")}
    file = DownloadedFileConfig(url=f"{address}/c.zip", members={"a": "a", "b": "b"}, member_checksums=sums)
    with pytest.raises(
        DownloadError, match=r"b of http.*c\.zip is not the published file: md5 is .*, expected"
    ):
        fetch(tmp_path, file)
    assert names_in(tmp_path) == []


def test_what_is_there_is_left_alone(tmp_path: Path, address: str) -> None:
    publish("/again.csv", BODY)
    (tmp_path / "e.csv").write_text("mine")
    Publisher.asked.clear()
    fetch(tmp_path, DownloadedFileConfig(url=f"{address}/again.csv", checksum=SHA, path="e.csv"))
    assert (tmp_path / "e.csv").read_text() == "mine"
    assert Publisher.asked == []


def test_wrong_checksum_keeps_nothing(tmp_path: Path, address: str) -> None:
    publish("/changed.csv", BODY)
    file = DownloadedFileConfig(url=f"{address}/changed.csv", checksum=SOME_SHA, path="e.csv")
    with pytest.raises(DownloadError, match=rf"not the published file: sha256 is {SHA[7:]}, expected 0000"):
        fetch(tmp_path, file)
    assert names_in(tmp_path) == []


def test_truncated_body_keeps_nothing(tmp_path: Path, address: str) -> None:
    publish("/truncated.csv", BODY)
    file = DownloadedFileConfig(url=f"{address}/truncated.csv", checksum=SHA, path="e.csv")
    with pytest.raises(DownloadError, match=r"truncated\.csv ended after 32 of 132 bytes"):
        fetch(tmp_path, file)
    assert names_in(tmp_path) == []


def test_absent_file_tells_the_status(tmp_path: Path, address: str) -> None:
    file = DownloadedFileConfig(url=f"{address}/nowhere.csv", checksum=SHA, path="e.csv")
    with pytest.raises(DownloadError, match=r"nowhere\.csv answered 404 Not Found"):
        fetch(tmp_path, file)
    assert names_in(tmp_path) == []


def test_unreachable_publisher_is_named(tmp_path: Path) -> None:
    file = DownloadedFileConfig(url="http://127.0.0.1:9/e.csv", checksum=SHA, path="e.csv")
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/e\.csv could not be fetched: .*refused"):
        fetch(tmp_path, file)


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "a/../../escape", "..\\escape", "C:\\escape"])
def test_archive_with_an_unsafe_path_is_refused(tmp_path: Path, address: str, name: str) -> None:
    body = zip_of({"e.csv": BODY, name: b"evil"})
    publish("/evil.zip", body)
    file = DownloadedFileConfig(url=f"{address}/evil.zip", checksum=md5_of(body), members={"e.csv": "e.csv"})
    with pytest.raises(DownloadError, match=r"holds the unsafe path .*escape'; nothing was unpacked"):
        fetch(tmp_path / "inner", file)
    assert names_in(tmp_path) == []


def test_archive_without_the_member_is_refused(tmp_path: Path, address: str) -> None:
    body = zip_of({"other": b""})
    publish("/lacking.zip", body)
    file = DownloadedFileConfig(
        url=f"{address}/lacking.zip", checksum=md5_of(body), members={"e.csv": "e.csv"}
    )
    with pytest.raises(DownloadError, match=r"lacks 'e\.csv', it holds \['other'\]"):
        fetch(tmp_path, file)


def test_file_that_is_no_archive_is_refused(tmp_path: Path, address: str) -> None:
    publish("/no.zip", BODY)
    file = DownloadedFileConfig(url=f"{address}/no.zip", checksum=SHA, members={"e.csv": "e.csv"})
    with pytest.raises(DownloadError, match="is no readable zip archive"):
        fetch(tmp_path, file)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("path", ["t.csv", "t.csv.gz", "t.parquet"])
def test_table_is_derived_by_a_query(tmp_path: Path, address: str, path: str) -> None:
    body = b"u::9\nv::5\nu::7\n"
    publish("/r.dat", body)
    source = TableConfig(
        path="r.dat", format=TableFormat.csv, separator="::", header=False, names=["who", "at"]
    )
    rank = "ROW_NUMBER() OVER (PARTITION BY who ORDER BY CAST(at AS BIGINT))"
    query = f"SELECT who, {rank} AS n FROM source ORDER BY who, n"
    files = fetch(
        tmp_path,
        DownloadedFileConfig(url=f"{address}/r.dat", checksum=md5_of(body), path="r.dat"),
        derived=[DerivedTableConfig(path=path, source=source, query=query)],
    )
    assert files == [tmp_path / "r.dat", tmp_path / path]
    read = pl.read_parquet(files[1]) if path.endswith("parquet") else pl.read_csv(files[1])
    assert read.rows() == [("u", 1), ("u", 2), ("v", 1)]


@pytest.mark.parametrize(
    ("body", "query", "message"),
    [
        (b"a,b\n1,2,3\n", "SELECT * FROM source", r"r\.csv has 1 unreadable rows: more than 2 values"),
        (b"a,b\n1,2\n", "SELECT c FROM source", r"t\.csv cannot be made of r\.csv: .*c"),
        (b"", "SELECT * FROM source", r"t\.csv cannot be made of r\.csv: .*empty"),
    ],
    ids=["unreadable", "wrong-query", "empty"],
)
def test_table_that_cannot_be_derived_is_named(
    tmp_path: Path, address: str, body: bytes, query: str, message: str
) -> None:
    publish("/derive.csv", body)
    file = DownloadedFileConfig(url=f"{address}/derive.csv", checksum=md5_of(body), path="r.csv")
    derived = DerivedTableConfig(path="t.csv", source=TableConfig(path="r.csv"), query=query)
    with pytest.raises(DownloadError, match=message):
        fetch(tmp_path, file, derived=[derived])
    assert names_in(tmp_path) == ["r.csv"]


def test_set_that_asks_for_an_account_says_so(tmp_path: Path) -> None:
    config = DownloadConfig(
        page="https://example.org/set", manual="its publisher asks for an account. Log in there"
    )
    with pytest.raises(
        DownloadError, match=r"example\.org/set cannot be fetched by a program: its publisher asks"
    ):
        download(config, tmp_path)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    file = DownloadedFileConfig(url="http://127.0.0.1:9/e.csv", checksum=SHA, path="e.csv")
    with pytest.raises(DownloadError, match=r"file cannot be written: .*choose another data\.root"):
        fetch(tmp_path / "file", file)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"url": "file:///etc/passwd", "path": "a", "checksum": SHA},
            "url must begin with https:// or http://, got 'file",
        ),
        ({"url": "https://e.org/a", "checksum": SHA}, "needs either path or members, got path=''"),
        (
            {"url": "https://e.org/a", "path": "a", "members": {"b": "b"}, "checksum": SHA},
            "needs either path or members",
        ),
        ({"url": "https://e.org/a", "path": "a"}, r"a needs a checksum, or one for each of \[\], got \[\]"),
        (
            {"url": "https://e.org/a", "members": {"a": "a", "b": "b"}, "member_checksums": {"a": SHA}},
            "needs a checksum",
        ),
        (
            {"url": "https://e.org/a", "path": "a", "checksum": SHA, "member_checksums": {"b": SHA}},
            r"member_checksums must be of members \[\], got \['b'\]",
        ),
        (
            {"url": "https://e.org/a", "path": "a", "checksum": "sha256:abc"},
            "checksum must be one of .*, got 'sha256:abc'",
        ),
        ({"url": "https://e.org/a", "path": "a", "checksum": "crc:" + "0" * 64}, "checksum must be one of"),
        (
            {"url": "https://e.org/a", "path": "../a", "checksum": SHA},
            r"must stay inside data\.root, got '\.\./a'",
        ),
        (
            {"url": "https://e.org/a", "members": {"/a": "a"}, "checksum": SHA},
            "must stay inside data.root, got '/a'",
        ),
    ],
)
def test_impossible_file_is_refused(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DownloadedFileConfig(**keywords)  # type: ignore[arg-type]  # the point is that the values are wrong


@pytest.mark.parametrize("keywords", [{}, {"manual": "no", "files": [1]}], ids=["neither", "both"])
def test_download_needs_files_or_a_reason(keywords: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"data\.download needs either files or manual, got \d files"):
        DownloadConfig(page="p", **keywords)  # type: ignore[arg-type]  # the point is that the values are wrong


@pytest.mark.parametrize(
    ("path", "message"), [("t.xlsx", "must end in .csv"), ("../t.csv", "must stay inside")]
)
def test_derived_table_must_be_writable(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DerivedTableConfig(path=path, source=TableConfig(path="a.csv"))
