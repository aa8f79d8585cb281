"""Lines are whole however the body was cut, and none that is too long is held."""

import pytest

from serving.http.lines import Line, LineSplitter

BODY = '\ufeff{"a":"ü€𝄞"}\r\n\n \t\r\n{"b":1}\nlast'.encode()
LINES = [Line(1, '{"a":"ü€𝄞"}'.encode()), Line(4, b'{"b":1}'), Line(5, b"last")]


def lines_of(splitter: LineSplitter, *pieces: bytes) -> list[Line]:
    return [line for piece in pieces for line in splitter.feed(piece)] + list(splitter.end())


@pytest.mark.parametrize("size", range(1, len(BODY) + 1))
def test_lines_are_the_same_however_the_body_is_cut(size: int) -> None:
    pieces = [BODY[start : start + size] for start in range(0, len(BODY), size)]
    assert lines_of(LineSplitter(100), *pieces) == LINES


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_body_of_nothing_has_no_lines(body: bytes) -> None:
    assert lines_of(LineSplitter(100), body) == []


def test_line_that_ends_has_no_line_after_it() -> None:
    assert lines_of(LineSplitter(100), b"a\n") == [Line(1, b"a")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_limit_is_that_of_a_line_without_its_end(end: bytes) -> None:
    body = b"\xef\xbb\xbf12345" + end + b"12345" + end + b"123456" + end + b"1234567890" + end + b"1"
    expected = [Line(1, b"12345"), Line(2, b"12345"), Line(3, None), Line(4, None), Line(5, b"1")]
    assert lines_of(LineSplitter(5), body) == expected
    assert lines_of(LineSplitter(5), *[bytes([byte]) for byte in body]) == expected


def test_line_without_end_is_not_held() -> None:
    splitter = LineSplitter(1000)
    for _ in range(100):
        assert list(splitter.feed(b"x" * 700)) == []
        assert splitter.n_held <= 1004
    assert list(splitter.feed(b"\nnext\n")) == [Line(1, None), Line(2, b"next")]
