"""Speech emotion recognition, reproduced and questioned: five papers, one library.

The names below are the study's public face: `from ser_study import load_corpora, screen, PDDS`. Each is imported
when it is first used, so importing `ser_study` takes no time."""

import importlib

_WHERE = {   # name -> the module that defines it
    "load_settings": "settings",
    "StudyError": "settings",
    "load_corpora": "data.corpora",
    "load_audio": "data.audio",
    "screen": "data.screening",
    "FeatureStore": "features.store",
    "extract_clips": "features.extraction",
    "extract_texts": "features.extraction",
    "Functionals": "features.functionals",
    "SpectralStatistics": "features.spectra",
    "Frames": "features.frames",
    "SpeechEncoder": "features.speech_models",
    "SentenceEncoder": "features.text_models",
    "Split": "protocol.splits",
    "grouped_folds": "protocol.splits",
    "grouped_split": "protocol.splits",
    "stratified_folds": "protocol.splits",
    "stratified_split": "protocol.splits",
    "audit_leakage": "protocol.audit",
    "class_weights": "protocol.class_weights",
    "PDDS": "protocol.pdds",
    "RaiseRarest": "protocol.pdds",
    "UniformBalancing": "protocol.pdds",
    "null_like": "models.probes",
    "probe": "models.probes",
    "confusion_counts": "evaluation.classification",
    "unweighted_accuracy": "evaluation.classification",
    "weighted_f1": "evaluation.classification",
    "Interval": "evaluation.intervals",
    "adjust": "evaluation.intervals",
    "difference_interval": "evaluation.intervals",
    "placebo_interval": "evaluation.intervals",
    "refit_interval": "evaluation.intervals",
    "score_interval": "evaluation.intervals",
    "score_intervals": "evaluation.intervals",
    "verdict_of": "evaluation.verdicts",
    "Task": "study.fits",
    "run_fits": "study.fits",
    "Study": "study.essay",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str):
    "Import a public name from its module."
    if name not in _WHERE: raise AttributeError(f"module 'ser_study' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ser_study.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    "What the tab key offers: the public names."
    return __all__
