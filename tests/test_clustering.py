"""UMAP's embedding of rows that repeat, and a whole clustering: the same in one process and in another. The
interval of an index of clusters, by refits on halves, against what new speakers really do to it."""

import hashlib, json, subprocess, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest
from ser_study.evaluation.intervals import refit_interval
from ser_study.models.clustering import indices, kmeans, reduce
from ser_study.models.probes import draw_half
from ser_study.study.clustering.fits import fit_clusters
from ser_study.study.fits import Fit, Task, run_fits

def embed() -> list[list[str]]:
    "Digests of three embeddings (2, 10 and again 2 components) of two tables."
    rng = np.random.default_rng(0)
    sentences = np.repeat(rng.normal(size=(14, 48)), 20, axis=0)   # fixed sentences: equal rows
    voices = rng.normal(size=(280, 16)) * np.repeat([1, 0], 140)[:, None]
    tables = [X.astype(np.float32) for X in (sentences, np.hstack([voices, sentences]))]
    return [[hashlib.sha256(reduce(X, 1, components).tobytes()).hexdigest() for components in (2, 10, 2)]
            for X in tables]

def fit(folder: Path) -> Fit:
    "A kept clustering: UMAP, KMeans and HDBSCAN."
    X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    configuration = dict(seed=3, n_components=2, n_neighbors=10, min_dist=0.1, clusters=3, min_cluster_size=5)
    kept, = run_fits(fit_clusters, [Task(configuration, dict(X=X))], folder)
    return kept

ELSEWHERE = """
import json, sys
from pathlib import Path
import test_clustering

test_clustering.fit(Path(sys.argv[1]))
print(json.dumps(test_clustering.embed()))"""

@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> tuple[list[list[str]], Path]:
    "What another process computed: `embed`, and the folder of `fit`."
    folder = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(folder)], cwd=Path(__file__).parent,
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout), folder

def test_repeated_rows_are_embedded_the_same_everywhere(elsewhere):
    here, (there, _) = embed(), elsewhere
    assert here == there and len(here) == 2
    for first, wider, again in here: assert first == again != wider

def test_a_clustering_is_the_same_in_another_process(elsewhere, tmp_path):
    "The promise of determinism where it is hardest."
    here = fit(tmp_path)
    there, = elsewhere[1].glob("*.parquet")
    assert [path.name for path in tmp_path.glob("*.parquet")] == [there.name], "the same key"
    assert pd.read_parquet(there).equals(here.table)


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
