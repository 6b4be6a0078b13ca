"""UMAP's embedding of rows that repeat: the same twice in one process and in another process. The interval of
an index of clusters, by refits on halves, against what new speakers really do to it."""

import subprocess, sys
import numpy as np
from ser_study.evaluation.intervals import refit_interval
from ser_study.models.clustering import indices, kmeans
from ser_study.models.probes import draw_half

EMBED = """
import hashlib
import numpy as np
from ser_study.models.clustering import reduce

rng = np.random.default_rng(0)
sentences = np.repeat(rng.normal(size=(14, 48)), 20, axis=0)     # fixed sentences: equal rows
voices = rng.normal(size=(280, 16)) * np.repeat([1, 0], 140)[:, None]
for X in (sentences, np.hstack([voices, sentences])):
    X = X.astype(np.float32)
    print(*(hashlib.sha256(reduce(X, 1, components).tobytes()).hexdigest() for components in (2, 10, 2)))
"""

def embed() -> list[list[str]]:
    "Digests of three embeddings of two tables, computed in a process of its own."
    printed = subprocess.run([sys.executable, "-c", EMBED], check=True, capture_output=True, text=True).stdout
    return [line.split() for line in printed.splitlines()]

def test_repeated_rows_are_embedded_the_same_everywhere():
    here, there = embed(), embed()
    assert here == there and len(here) == 2
    for first, wider, again in here: assert first == again != wider


SPEAKERS, CLIPS = 16, 15


def record(rng) -> np.ndarray:
    "Clips of new speakers in a plane: three groups, each speaker somewhere else, one speaker after another."
    centres = np.array([[0, 0], [6, 0], [0, 6]])[np.arange(SPEAKERS * CLIPS) % 3]
    own = rng.normal(0, 1.5, (SPEAKERS, 2)).repeat(CLIPS, axis=0)
    return centres + own + rng.normal(size=(SPEAKERS * CLIPS, 2))


def silhouette(X: np.ndarray, seed: int) -> float:
    return indices(X, kmeans(X, 3, seed))["silhouette"]


def test_refits_on_halves_know_how_far_new_speakers_move_a_silhouette():
    "The standard error by refits, against the standard deviation over many corpora of new speakers."
    rng, speakers = np.random.default_rng(0), np.arange(SPEAKERS).repeat(CLIPS)
    corpora = [record(rng) for _ in range(50)]
    values = [silhouette(X, seed) for seed, X in enumerate(corpora)]
    errors = []
    for X, value in list(zip(corpora, values))[:10]:
        halves = [draw_half(speakers, np.zeros(len(X)), seed) for seed in range(10)]
        refits = [silhouette(X[half], seed) for seed, half in enumerate(halves)]
        errors.append(refit_interval(value, refits, SPEAKERS).error)
    assert 0.7 < np.sqrt(np.mean(np.square(errors))) / np.std(values) < 1.5
