"""MELD: hand-made tables of three editions, faults by file and line, texts kept, and the real dialogues
against a second reading."""
import csv
from collections import Counter
import pytest
from ser_study.data.demo.texts import make_demo_texts
from ser_study.data.readers.meld import read_meld
from ser_study.settings import StudyError

HEADER = ("Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
          "StartTime,EndTime\n")
ROW = '1,Hey.,Ross,neutral,neutral,0,0,8,21,"00:16:16,059","00:16:21,731"\n'


@pytest.fixture
def corpus(tmp_path):
    def write(encoding="utf-8", **rows):
        for split in ("train", "dev", "test"):
            (tmp_path / f"{split}_sent_emo.csv").write_bytes((HEADER + rows.get(split, ROW)).encode(encoding))
        return tmp_path
    return write


def test_one_dialogue_by_hand(corpus):
    rows = ('7,"Oh, no!",Rachel,surprise,negative,12,3,8,21,"0:16:22,5","01:00:00,000"\n'
            '6,Joey<3 & co.,Joey,joy,positive,12,1,8,21,"00:16:16,059","00:16:21,73"\n' + ROW)
    frame = read_meld(corpus(train=rows)).utterances
    train = frame[frame["split"] == "train"]
    assert train[["utterance", "dialogue", "turn"]].values.tolist() == [[f"meld/train/dia00{d}_utt0{u}",
        f"meld/train/dia00{d}", u] for d, u in (("00", 0), (12, 1), (12, 3))]
    assert train[["speaker", "emotion", "sentiment", "transcript"]].values.tolist()[1:] == [
        ["meld/Joey", "happiness", "positive", "Joey<3 & co."],
        ["meld/Rachel", "surprise", "negative", "Oh, no!"]]
    assert train[["start", "end"]].values.tolist() == [[976.059, 981.731], [976.059, 981.73], [982.5, 3600.0]]
    assert set(train["session"]) == {"meld/s08e21"} and set(frame["language"]) == {"en"}
    assert frame[["path", "sex", "votes"]].isna().all(axis=None)


def test_dialogue_0_of_each_table_is_another_dialogue(corpus):
    frame = read_meld(corpus(), corpus="x").utterances
    assert frame["dialogue"].tolist() == ["x/dev/dia0000", "x/test/dia0000", "x/train/dia0000"]
    assert set(frame["speaker"]) == {"x/Ross"}


@pytest.mark.parametrize("written, meant", [
    ("I\x92m \x93fine\x94\x85", "I’m “fine”…"), ("\x85and\x97", "…and—"), ("I’m “fine”…", "I’m “fine”…"),
    ("Café  añb \u200b👍🏽", "Café  añb \u200b👍🏽"),
    ("<i>x</i> &amp; =1+1", "<i>x</i> &amp; =1+1"), ("אני לא יודע", "אני לא יודע"), ("NA", "NA"),
    ("\x81", "\x81")])
def test_old_editions_are_repaired_and_all_else_is_kept(corpus, written, meant):
    frame = read_meld(corpus(dev=ROW.replace("Hey.", written).replace("Ross", "Ross\x92s mom"))).utterances
    assert frame["transcript"][0] == meant and frame["speaker"][0] == "meld/Ross’s mom"


def test_a_byte_order_mark_and_an_empty_text(corpus):
    empty = ROW.replace("Hey.", "").replace("Ross", "")
    frame = read_meld(corpus(encoding="utf-8-sig", test=empty)).utterances
    assert frame["transcript"].isna().tolist() == frame["speaker"].isna().tolist() == [False, True, False]


def test_times_that_run_backwards_are_listed(corpus):
    frame, skipped, _ = read_meld(corpus(dev=ROW.replace("00:16:21", "00:16:15")))
    assert frame["start"].isna().tolist() == frame["end"].isna().tolist() == [True, False, False]
    assert skipped == [("dev_sent_emo.csv, line 2", "ends before it starts: its times are missing")]


@pytest.mark.parametrize("rows, said", [
    (ROW + "\n" + ROW.replace(",0,0,", ",0,1,").replace("neutral,neutral", "bored,neutral"),
     "line 4: Emotion 'bored' is none of neutral, disgust, anger, joy, sadness, fear, surprise"),
    (ROW.replace("neutral,neutral", "neutral,Neutral"),
     "line 2: Sentiment 'Neutral' is none of positive, negative, neutral"),
    (ROW.replace(",0,0,", ",0,-1,"), "line 2: Utterance_ID is '-1', expected a whole number"),
    (ROW.replace(",8,21,", ",8,,"), "line 2: Episode is '', expected a whole number"),
    (ROW.replace("00:16:21,731", "16:21"),
     "line 2: EndTime is '16:21', expected a time such as 00:16:16,059"),
    (ROW + ROW, "line 3: meld/dev/dia0000_utt00 stood before")])
def test_a_line_that_does_not_fit_costs_itself(corpus, rows, said):
    frame, skipped, _ = read_meld(corpus(dev=rows + ROW.replace(",0,0,", ",7,7,")))
    line, _, reason = said.partition(": ")
    assert skipped == [(f"dev_sent_emo.csv, {line}", reason)]
    assert "meld/dev/dia0007_utt07" in set(frame["utterance"])


def test_a_line_that_is_no_line_of_a_table_is_an_error(corpus):
    with pytest.raises(StudyError, match="dev_sent_emo.csv, line 2: 10 cells, the header has 11"):
        read_meld(corpus(dev=ROW.replace("neutral,neutral", "neutral")))


def test_a_clone_of_its_repository_is_found(corpus, tmp_path):
    root = corpus()
    clone = tmp_path / "clone"
    (clone / "data/MELD").mkdir(parents=True)
    for table in root.glob("*.csv"): table.rename(clone / "data/MELD" / table.name)
    assert len(read_meld(clone).utterances) == 3


def test_a_missing_table_or_column_is_named(corpus):
    root = corpus()
    (root / "test_sent_emo.csv").write_text("Utterance,Emotion\nHey.,joy\n")
    with pytest.raises(StudyError, match="test_sent_emo.csv lacks the column speaker, sentiment, "):
        read_meld(root)
    (root / "test_sent_emo.csv").unlink()
    with pytest.raises(StudyError, match="test_sent_emo.csv: No such file"): read_meld(root)


# --- the real tables

def test_the_real_dialogues(corpora_root):
    frame, skipped, _ = read_meld(corpora_root / "MELD")
    assert len(frame) == 13708 and Counter(frame["split"]) == dict(train=9989, dev=1109, test=2610)
    assert frame["dialogue"].nunique() == 1038 + 114 + 280
    assert Counter(frame[frame["split"] == "test"]["emotion"]) == (
        dict(neutral=1256, happiness=402, anger=345, surprise=281, sadness=208, disgust=68, fear=50))
    assert skipped == [] and not frame["transcript"].str.contains("[\x80-\x9f]").any()
    assert frame["transcript"].notna().all()
    assert frame.groupby("dialogue")["session"].nunique().eq(1).all()
    with open(corpora_root / "MELD/test_sent_emo.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    test = frame[frame["split"] == "test"].sort_values(["dialogue", "turn"])
    assert test["transcript"].tolist() == [row["Utterance"].strip() for row in rows], "the file's own order"
    assert test["sentiment"].tolist() == [row["Sentiment"] for row in rows]


# --- the demo

def test_demo_has_the_layout_and_its_emotions_have_inertia(tmp_path):
    root = make_demo_texts("demo_meld", tmp_path)
    assert sorted(path.name for path in root.iterdir()) == [
        "README.md", "dev_sent_emo.csv", "test_sent_emo.csv", "train_sent_emo.csv"]
    stays, shown, dialogues = [], [], {}
    for split in ("train", "dev", "test"):
        with open(root / f"{split}_sent_emo.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert ",".join(rows[0]) + "\n" == HEADER
        assert [row["Sr No."] for row in rows] == [str(n + 1) for n in range(len(rows))]
        assert {row["Emotion"] for row in rows} == {
            "neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"}
        dialogues[split] = len({row["Dialogue_ID"] for row in rows})
        stays += [a["Emotion"] == b["Emotion"] for a, b in zip(rows, rows[1:])
                  if a["Dialogue_ID"] == b["Dialogue_ID"]]
        shown += [(row["Utterance"], row["Emotion"]) for row in rows]
        assert all(row["StartTime"] < row["EndTime"] and len(row["EndTime"]) == 12 for row in rows)
    assert dialogues == dict(train=60, dev=15, test=20) and 0.8 < sum(stays) / len(stays) < 0.95
    by_words = Counter(words for words, emotion in set(shown))
    vague = [words for words, _ in shown if by_words[words] >= 5]
    assert 0.4 < len(vague) / len(shown) < 0.7, "said in five emotions or more"
    frame = read_meld(root, corpus="demo_meld").utterances
    assert len(frame) == len(shown) and frame.groupby("dialogue")["speaker"].nunique().eq(2).all()
    assert frame.groupby("dialogue")["turn"].apply(lambda turns: turns.tolist()
        == list(range(len(turns)))).all()
