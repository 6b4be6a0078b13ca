"""UMAP's embedding of rows that repeat: the same twice in one process and in another process."""

import subprocess, sys

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
