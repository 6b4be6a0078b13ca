"""Papers 02 to 05, whole, on their demo corpora and as small as their parameters allow: each notebook runs,
answers every published number, and leaves neither paths nor markup of its texts."""

import json, os, re, subprocess, sys
from pathlib import Path
import nbformat, pandas as pd, pytest
from ser_study.evaluation.published import RESULTS, load_published
from ser_study.site.reports import read_run

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "02": dict(
        text_models="minilm",
        audio_models="mfcc",
        conv_lengths="1",
        compared="2",
        seconds="2",
        epochs="1",
        n_seeds="1",
    ),
    "03": dict(n_seeds="1", trials="4"),
    "04": dict(n_seeds="1", epochs="1"),
    "05": dict(n_seeds="1", epochs="1", advice_epochs="1"),
}


@pytest.fixture(scope="module", params=SMALL)
def made(request, tmp_path_factory) -> Path:
    "The folder of one paper's run."
    house, parameters = tmp_path_factory.mktemp(request.param), SMALL[request.param]
    settings = {
        "SER_STUDY_REPORTS": str(house / "reports"),
        "SER_STUDY_CACHE": str(house / "cache"),
        "SER_STUDY_WORKERS": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ser-study"),
            "run",
            request.param,
            *(part for name, value in parameters.items() for part in ("-p", f"{name}={value}")),
        ],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (house / "reports").glob("*/*")
    return folder


def test_the_run_is_whole(made):
    assert {path.name for path in made.iterdir()} == {
        "report.ipynb",
        "results.csv",
        "run.json",
        "predictions.parquet",
        "fits.csv",
        "figures",
    }
    report = nbformat.read(made / "report.ipynb", as_version=4)
    nbformat.validate(report)
    assert all(cell.execution_count for cell in report.cells if cell.cell_type == "code")
    assert read_run(made).provenance["corpora"], "the site can show it"
    results, published = pd.read_csv(made / "results.csv"), load_published(made.parent.name)
    assert list(results.columns) == RESULTS
    assert set(zip(published["item"], published.column)) <= set(zip(results["item"], results.column)), (
        "every published number is answered, or stands there untested"
    )
    assert set(results.comparable) == {"demo"} and not results.verdict.str.contains("reproduced").any()


def test_predictions_are_probabilities_of_known_utterances(made):
    predictions, record = (
        pd.read_parquet(made / "predictions.parquet"),
        json.loads((made / "run.json").read_text(encoding="utf-8")),
    )
    shares = predictions.select_dtypes(["float16", "float32", "float64"]).to_numpy(dtype=float)
    assert len(predictions) and (shares >= 0).all() and (abs(shares.sum(axis=1) - 1) < 0.01).all()
    assert {"utterance", "unit", "protocol", "configuration", "split", "seed", "true"} <= set(
        predictions
    ) and predictions.notna().all(axis=None)
    assert set(predictions.true.astype(str)) <= set(predictions.columns), (
        "a class has a column of probabilities"
    )
    (corpus,) = record["corpora"]
    assert (
        predictions.utterance.astype(str).str.startswith(corpus).all()
        and record["assumptions"]
        and record["stages"]
    )


def test_every_fit_that_predicted_has_its_cost(made):
    predictions, fits = pd.read_parquet(made / "predictions.parquet"), pd.read_csv(made / "fits.csv")

    def key(table):
        return set(
            table[["protocol", "configuration", "split", "seed"]]
            .astype(str)
            .itertuples(index=False, name=None)
        )

    assert (
        key(predictions) <= key(fits)
        and (fits[["wall_s", "rss_mb"]] > 0).all(axis=None)
        and (fits.cpu_s >= 0).all()
    )


def test_no_place_on_this_machine_is_told(made):
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in made.rglob("*")
        if path.suffix in (".ipynb", ".json", ".csv", ".svg")
    }
    private = [
        place for place in map(str, (made.parents[2], ROOT, Path.home(), Path(sys.prefix))) if place != "/"
    ]
    assert not [
        (name, place)
        for name, text in texts.items()
        for place in private
        if re.search(re.escape(place) + r"(?![\w-])", text)
    ]
