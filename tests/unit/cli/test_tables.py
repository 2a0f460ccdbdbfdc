"""CSV files as rows."""

from __future__ import annotations

import pytest

from infergraph.cli.tables import Table, read_csv
from infergraph.errors import PayloadError


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("a,b\n1,2.5\n3,4\n", Table(["a", "b"], [[1, 2.5], [3, 4]])),
        ("1,2\n3,4\n", Table([], [[1, 2], [3, 4]])),
        (",a,b\n0,1,x\n1,2,y\n", Table(["a", "b"], [[1, "x"], [2, "y"]])),
        ("\ufeffa;b\r\n1;2\r\n", Table(["a", "b"], [[1, 2]])),
        ('text\n"one, two"\n"three\nfour"\n', Table(["text"], [["one, two"], ["three\nfour"]])),
        ("a,b\n1,\n2,x\n", Table(["a", "b"], [[1, ""], [2, "x"]])),
        ("a,b\n1,\n,2\n", Table(["a", "b"], [[1, None], [None, 2]])),
        ("姓名,年龄\n张三,30\n", Table(["姓名", "年龄"], [["张三", 30]])),
    ],
)
def test_a_csv_file_is_rows(tmp_path, text, table):
    """Names come from a header, numbers from columns of numbers; an index without a name is left out."""
    (tmp_path / "t.csv").write_text(text, "utf-8", newline="")
    assert read_csv(tmp_path / "t.csv") == table


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "the file has no rows"),
        (b"a,b\n1,2\n3\n", "line 3: 1 cells, where the first row has 2"),
        ("姓名\n张三\n".encode("gbk"), "is not UTF-8 text"),
    ],
)
def test_a_csv_file_that_is_none(tmp_path, raw, words):
    """What cannot be read as a table is refused with its line."""
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(PayloadError, match=words):
        read_csv(tmp_path / "t.csv")
