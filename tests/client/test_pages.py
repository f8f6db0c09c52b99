"""Pages: what a reader of the table sees."""

from __future__ import annotations

from client import pages

SHA256 = "6dcc1d838716fab63a29cc712744c7414bb3df51a4ecf0a30d9136fd59a3f857"


def test_columns_of_numbers_stand_to_the_right_with_their_heading() -> None:
    rows = [("a", "1,024", "3e-05", "85/92"), ("b", -2.5, "65 (estimated)", "")]
    made = pages.table(("node", "bytes", "delta", "right"), rows)
    heading = "<tr><th>node</th><th class=n>bytes</th><th class=n>delta</th><th class=n>right</th>"
    assert heading in made
    assert "<td>a</td><td class=n>1,024</td><td class=n>3e-05</td><td class=n>85/92</td>" in made


def test_words_and_hashes_are_no_numbers() -> None:
    made = pages.table(
        ("outcome", "model"), [("3 of 4 hospitals accept the candidate now", SHA256[1:])]
    )
    assert "class=n" not in made


def test_a_hash_is_cut_and_whole_in_its_title() -> None:
    made = pages.table(("model",), [(f"model {SHA256}, block 5",)])
    assert f"<td>model <abbr title={SHA256}>6dcc1d838716…</abbr>, block 5</td>" in made


def test_cells_cannot_carry_markup() -> None:
    made = pages.table(("<b>",), [("<script>",)])
    assert "<b>" not in made
    assert "<script>" not in made


def test_a_table_without_rows_has_its_headings() -> None:
    assert "<th>one</th><th>two</th>" in pages.table(("one", "two"), [])
