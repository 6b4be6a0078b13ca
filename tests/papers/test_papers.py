"""Papers 02 to 05, whole, on their demo corpora and as small as their parameters allow: each notebook runs,
answers every published number, and leaves neither paths nor markup of its texts."""
import json, re, sys
from pathlib import Path
import nbformat, pandas as pd, pytest
from ser_study.evaluation.published import RESULTS, load_published
from ser_study.site.reports import read_run
from small_papers import ROOT, SMALL, finish, report, start

pytestmark = pytest.mark.papers


@pytest.fixture(scope="module", params=[paper for paper in SMALL if paper != "01"])
def made(request, tmp_path_factory) -> Path:
    "The folder of one paper's run, which has all its files."
    house = tmp_path_factory.mktemp(request.param)
    finish(start(request.param, house, workers=1))
    return report(house)


def test_the_run_is_whole(made):
    notebook = nbformat.read(made / "report.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert read_run(made).provenance["corpora"], "the site can show it"
    results, published = pd.read_csv(made / "results.csv"), load_published(made.parent.name)
    assert list(results.columns) == RESULTS
    there = set(zip(results["item"], results.column))
    assert set(zip(published["item"], published.column)) <= there, "answered, or untested: no number is lost"
    assert set(results.comparable) == {"demo"} and not results.verdict.str.contains("reproduced").any()

def test_predictions_are_probabilities_of_known_utterances(made):
    predictions = pd.read_parquet(made / "predictions.parquet")
    shares = predictions.select_dtypes(["float16", "float32", "float64"]).to_numpy(dtype=float)
    assert len(predictions) and (shares >= 0).all() and (abs(shares.sum(axis=1) - 1) < .01).all()
    assert {"utterance", "unit", "protocol", "configuration", "split", "seed", "true"} <= set(predictions)
    assert predictions.notna().all(axis=None)
    assert set(predictions.true.astype(str)) <= set(predictions.columns), "a class has its probabilities"
    record = json.loads((made / "run.json").read_text(encoding="utf-8"))
    [corpus] = record["corpora"]
    assert predictions.utterance.astype(str).str.startswith(corpus).all()
    assert record["assumptions"] and record["stages"]

def fits_of(table: pd.DataFrame) -> set[tuple[str, ...]]:
    return set(table[["protocol", "configuration", "split", "seed"]].astype(str)
               .itertuples(index=False, name=None))

def test_every_fit_that_predicted_has_its_cost(made):
    predictions, fits = pd.read_parquet(made / "predictions.parquet"), pd.read_csv(made / "fits.csv")
    assert fits_of(predictions) <= fits_of(fits)
    assert (fits[["wall_s", "rss_mb"]] > 0).all(axis=None) and (fits.cpu_s >= 0).all()

def test_no_place_on_this_machine_is_told(made):
    texts = {path.name: path.read_text(encoding="utf-8") for path in made.rglob("*")
             if path.suffix in (".ipynb", ".json", ".csv", ".svg")}
    places = map(str, (made.parents[2], ROOT, Path.home(), Path(sys.prefix)))
    private = [re.escape(place) + r"(?![\w-])" for place in places if place != "/"]
    told = [(name, place) for name, text in texts.items() for place in private if re.search(place, text)]
    assert not told
