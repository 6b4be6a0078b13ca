"""What results hang on: scores by another library. The page is made again in tests/papers/test_essays.py."""

import numpy as np, pandas as pd, pytest
from committed import committed_reports
from sklearn.metrics import recall_score
from ser_study.study.beyond.blocks import Block, read_blocks

REPORTS = committed_reports()


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    "The blocks of the committed runs."
    return read_blocks(REPORTS)


def of(blocks: list[Block], paper: str, run: str, protocol: str) -> Block:
    "One of them."
    return next(b for b in blocks if (b.paper[:2], b.run, b.protocol) == (paper, run, protocol))


def test_a_speakers_score_is_the_mean_recall_of_their_emotions(blocks):
    "As scikit-learn computes it from the committed predictions."
    block = of(blocks, "05", "ravdess", "corrected")
    assert block.factors == ["features", "network", "seed", "speaker"]
    kept = pd.read_parquet(REPORTS / block.paper / block.run / "predictions.parquet")
    kept = kept[(kept.protocol == "corrected") & (kept.configuration == "Whisper, logistic regression")]
    classes = ["negative", "neutral", "positive"]
    answer = np.array(classes)[kept[classes].to_numpy().argmax(axis=1)]
    seed, speaker = sorted(kept.seed.unique())[3], sorted(kept.unit.astype(str).unique())[7]
    mine = ((kept.seed == seed) & (kept.unit == speaker)).to_numpy()
    expected = 100 * recall_score(kept.true[mine].astype(str), answer[mine], average="macro")
    place = block.levels["features"].index("Whisper"), block.levels["network"].index("logistic regression")
    assert block.scores[*place, 3, 7] == pytest.approx(expected)


def test_every_paper_with_classifiers_has_a_block(blocks):
    assert {block.paper[:2] for block in blocks} == {"02", "03", "04", "05"}
    assert all(np.isfinite(block.scores).all() for block in blocks)
    assert all(min(block.scores.shape) > 1 for block in blocks)


def test_two_voices_are_no_factor(blocks):
    "Six speakers are the fewest of whom anything is said."
    assert "speaker" not in of(blocks, "05", "nemo", "corrected").factors
