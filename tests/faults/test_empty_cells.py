"""Every paper on a table of one's own with every column that a table can have, in which each of them has an
empty cell, and in which the first clip has a path and nothing else."""
import json
from pathlib import Path
import pandas as pd, pytest
from ser_study.data.corpora import load_corpora
from ser_study.data.utterances import COLUMNS
from ser_study.labels import SENTIMENT_OF
from ser_study.settings import load_settings
from small_papers import SMALL, finish, report, start

pytestmark = [pytest.mark.faults, pytest.mark.papers]
ASKED = {"01": dict(most="48"), "02": {}, "03": {}, "04": {}, "05": {}}

@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    "A table of the demo CREMA-D's clips."
    clips = load_corpora("demo_crema_d", load_settings()).utterances.reset_index(drop=True)
    rows = range(len(clips))
    columns = dict(
        {name: clips[name] for name in ("path", "sex", "age", "emotion", "transcript", "language")},
        speaker=clips.speaker.str.split("/").str[-1], sentence=clips.sentence,
        votes=clips.votes.map(json.dumps),
        sentiment=clips.emotion.map(SENTIMENT_OF),
        intensity="medium", valence=2.5, arousal=3.5, dominance=1.5, repetition=1, start=0., end=2.,
        session=[f"s{row * 2 // len(clips)}" for row in rows], dialogue=[f"d{row // 20}" for row in rows],
        turn=[row % 20 for row in rows], script="script of " + clips.speaker,
        style=["scripted" if row % 2 else "improvised" for row in rows],
        split=["test" if row % 4 == 0 else "train" for row in rows])
    found = pd.DataFrame(columns).astype(object)
    assert set(found) == set(COLUMNS) - {"utterance", "corpus"}
    optional = [name for name in found if name != "path"]
    for row, name in enumerate(optional, start=70): found.loc[row, name] = ""
    found.loc[0, optional] = ""
    path = tmp_path_factory.mktemp("own") / "calls.csv"
    found.to_csv(path, index=False)
    return path

@pytest.mark.parametrize("paper", SMALL)
def test_a_paper_runs_where_every_column_has_an_empty_cell(paper, table, tmp_path):
    finish(start(paper, tmp_path, corpora=str(table), **ASKED[paper]))
    assert len(pd.read_csv(report(tmp_path) / "results.csv")) > 0
