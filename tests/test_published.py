"""Published numbers of papers 02 and 03: the papers' own arithmetic must hold, or a number was mistyped."""

import pytest
from ser_study.evaluation.published import load_published

SIX = ("neutral", "disgust", "anger", "joy", "sadness", "fear")


def numbers(paper, item):
    return {
        (row, column): value
        for row, column, value in load_published(paper)
        .query("item == @item")[["row", "column", "value"]]
        .values
    }


def cut(value, digits):
    return int(value * 10**digits + 1e-9) / 10**digits


def test_03_shares_and_both_weightings_follow_from_the_counts():
    counts, banded, inverse = numbers("03", "Table 1"), numbers("03", "Table 3"), numbers("03", "Table 5")
    texts = {emotion: counts[emotion, "texts"] for emotion in SIX}
    assert sum(texts.values()) == counts["total", "texts"] == 3000
    for emotion, n in texts.items():
        share = n / 30
        assert (
            counts[emotion, "share"] == banded[emotion, "share"] == inverse[emotion, "share"] == cut(share, 2)
        )
        assert banded[emotion, "weight"] == (
            2 if share < 5 else 1.5 if share < 20 else 1 if share < 35 else 0.5
        )
        assert inverse[emotion, "weight"] == cut(3000 / (6 * n), 1)


@pytest.mark.parametrize(
    "item, row", [("Table 4", "unweighted"), ("Table 4", "weighted (eq 1)"), ("Table 6", "weighted (eq 2)")]
)
def test_03_macro_scores_are_means_of_six(item, row):
    table = numbers("03", item)
    for score in ("recall", "F1"):
        assert table[row, f"macro {score}"] == pytest.approx(
            sum(table[row, f"{score} {emotion}"] for emotion in SIX) / 6, abs=0.005
        )


def test_03_recall_of_fear_is_a_number_of_six_texts():
    for item in ("Table 4", "Table 6"):
        for (_, column), value in numbers("03", item).items():
            if column == "recall fear":
                assert min(abs(value - k / 6) for k in range(7)) < 0.005
    text = numbers("03", "Text")
    assert text["unweighted", "macro F1"] == numbers("03", "Table 4")["unweighted", "macro F1"]


def test_02_table_1_counts_four_classes():
    table = numbers("02", "Table 1")
    assert sum(value for (_, column), value in table.items() if column == "utterances") == 5531
    assert sum(value for (_, column), value in table.items() if column == "dialogues") == 151
    assert "5531" in load_published("02").query("item == 'Table 1' and column == 'utterances'").source[0]


def test_02_tables_are_whole():
    for item, systems in (("Table 2", 4), ("Table 3", 8), ("Table 4", 6)):
        table = numbers("02", item)
        six = [f"F1 {code}" for code in ("neu", "fru", "ang", "sad", "hap", "exc")]
        assert len(table) == 7 * systems and {column for _, column in table} == {*six, "macro F1"}
        for row in {row for row, _ in table}:
            assert table[row, "macro F1"] == pytest.approx(sum(table[row, c] for c in six) / 6, abs=0.0005)
        assert {row for row, _ in table} == {
            row.removesuffix(" (cw)") + suffix for row, _ in table for suffix in ("", " (cw)")
        }
        assert all(0 <= value <= 0.6 for value in table.values())
    assert (
        load_published("02")
        .query("item in ('Fig 6', 'Fig 7', 'Fig 9')")
        .source.str.contains("printed inverted")
        .all()
    )
