"""The leakage audit: a leak of each kind is planted in a clean table and found there and nowhere else"""
import numpy as np
import pandas as pd
import pytest
from ser_study.protocol.audit import KINDS, audit_leakage
from ser_study.protocol.splits import Split

TRAIN, VALIDATION, TEST = np.arange(0, 6), np.arange(6, 9), np.arange(9, 12)
SPLIT = Split("planted", TRAIN, VALIDATION, TEST)

def clean() -> pd.DataFrame:
    "Twelve samples that have nothing in common. The last of each three was mixed of clips that no other has."
    table = pd.DataFrame({column: [f"{column} {row}" for row in range(12)] for column in KINDS
                          if column != "parents"})
    table["parents"] = [(f"mother {row}", f"father {row}") if row % 3 == 2 else None for row in range(12)]
    return table

def test_nothing_is_found_where_nothing_is():
    found, checked = audit_leakage(clean(), [SPLIT])
    assert len(found) == 0 and checked == list(KINDS.values())
    assert list(found.columns) == ["split", "sides", "what", "shared", "affected", "examples"]

@pytest.mark.parametrize("column", ["speaker", "utterance", "sentence", "dialogue", "script", "audio_key"])
@pytest.mark.parametrize("sides, rows", [("train / validation", (0, 7)), ("train / test", (4, 10)),
                                         ("validation / test", (6, 9))])
def test_a_planted_leak_is_found(column, sides, rows):
    table = clean()
    table.loc[rows[1], column] = table.loc[rows[0], column]
    found = audit_leakage(table, [SPLIT]).table
    assert len(found) == 1
    leak = found.iloc[0]
    assert (leak.split, leak.sides, leak.what, leak.shared) == ("planted", sides, KINDS[column], 1)
    assert leak.affected == pytest.approx(1 / 3) and leak.examples == f"{column} {rows[0]}"

@pytest.mark.parametrize("child, parents, sides, touched", [
    (5, ("utterance 9", "father 5"), "train / test", 1 / 3),       # trained on a mixture of a test clip
    (11, ("mother 11", "utterance 1"), "train / test", 1 / 3),     # tested on a mixture of a training clip
    (8, ("utterance 3", "father 8"), "train / validation", 1 / 3),
    # two mixtures of one parent that is nowhere itself
    (11, ("mother 5", "father 11"), "train / test", 1 / 3),
])
def test_a_planted_parent_is_found(child, parents, sides, touched):
    table = clean()
    table.at[child, "parents"] = parents
    found = audit_leakage(table, [SPLIT]).table
    assert found[["sides", "what", "shared"]].values.tolist() == [[sides, "augmentation parent", 1]]
    assert found.affected[0] == pytest.approx(touched) and found.examples[0] in parents

def test_parents_on_their_own_side_are_no_leak():
    table = clean()
    table.at[5, "parents"] = ("utterance 0", "utterance 1")
    assert len(audit_leakage(table, [SPLIT]).table) == 0

def test_segments_of_a_clip_are_neither_duplicates_nor_parents():
    """Clip 0 lies on three sides, and a training sample was mixed of it. So three pairs of sides
    share a clip, and the two with train share a parent. Its audio is its own."""
    table = clean()
    for row in (7, 10): table.loc[row, ["utterance", "audio_key"]] = table.loc[0, ["utterance", "audio_key"]]
    table.at[5, "parents"] = ("utterance 0", "father 5")
    found = audit_leakage(table, [SPLIT]).table
    assert set(found.what) == {"clip", "augmentation parent"}
    assert found.query("what == 'clip'").sides.tolist() == [
        "train / validation", "train / test", "validation / test"]
    assert found.query("what == 'augmentation parent'").sides.tolist() == [
        "train / validation", "train / test"]

def test_missing_values_are_not_shared():
    table = clean()
    table[["speaker", "sentence"]] = pd.NA
    table.loc[[0, 10], "dialogue"] = None
    found, checked = audit_leakage(table, [SPLIT])
    assert len(found) == 0
    assert checked == [KINDS[c] for c in ("utterance", "dialogue", "script", "audio_key", "parents")]

def test_only_columns_that_are_there_are_asked():
    found, checked = audit_leakage(clean()[["utterance", "speaker"]].set_index(np.arange(100, 112)), [SPLIT])
    assert len(found) == 0 and checked == ["speaker", "clip"]

def test_every_split_is_looked_at_and_counted():
    table = clean()
    table["speaker"] = ["s0"] * 3 + ["s1"] * 3 + ["s0"] * 3 + ["s1", "s2", "s1"]
    without_validation = Split("second", TRAIN, np.array([], int), TEST)
    found = audit_leakage(table, [SPLIT, without_validation]).table
    assert found[["split", "sides", "shared"]].values.tolist() == [
        ["planted", "train / validation", 1], ["planted", "train / test", 1], ["second", "train / test", 1]]
    assert found.affected.tolist() == pytest.approx([1, 2 / 3, 2 / 3])
