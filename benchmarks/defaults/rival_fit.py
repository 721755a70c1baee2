"""Fit one rival with its defaults in a process of its own; see `fit_processes` for job and answer.

Runs in the rivals' environment, as a script: it imports nothing of this project. Each library is
imported only where it is fitted, so that the memory of a process is that of its library.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np


def read_frame(arrays, description):
    """Return all rows as a data frame: float64, and categories as pandas' dtype."""
    import pandas as pd

    numbers, codes = arrays["numbers"], arrays["codes"]
    columns, words, place = {}, description["words"], [0, 0]
    for name, kind in description["columns"]:
        if kind == "category":
            column = codes[:, place[1]]
            categories = words[place[1]]
            columns[name] = pd.Categorical.from_codes(column, categories=categories)
        else:
            columns[name] = numbers[:, place[0]]
        place[kind == "category"] += 1
    # LightGBM and XGBoost refuse some characters of names.
    return pd.DataFrame({f"c{i}": values for i, values in enumerate(columns.values())})


def list_categories(frame):
    return [name for name in frame if frame[name].dtype.name == "category"]


def make_lightgbm(task, frame, seed, threads):
    import lightgbm

    kind = lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier
    return kind(random_state=seed, n_jobs=threads, verbose=-1), frame


def make_xgboost(task, frame, seed, threads):
    import xgboost

    kind = xgboost.XGBRegressor if task == "regression" else xgboost.XGBClassifier
    return kind(random_state=seed, n_jobs=threads, enable_categorical=True), frame


def make_catboost(task, frame, seed, threads):
    import catboost

    categories = list_categories(frame)
    # CatBoost has no missing categories: they are a category of their own.
    frame = frame.assign(**{name: frame[name].astype(object).fillna("?") for name in categories})
    kind = catboost.CatBoostRegressor if task == "regression" else catboost.CatBoostClassifier
    model = kind(
        random_seed=seed,
        thread_count=threads,
        cat_features=categories,
        verbose=False,
        allow_writing_files=False,
    )
    return model, frame


def make_histgradientboosting(task, frame, seed, threads):
    from sklearn import ensemble

    kind = (
        ensemble.HistGradientBoostingRegressor
        if task == "regression"
        else ensemble.HistGradientBoostingClassifier
    )
    return kind(random_state=seed, categorical_features="from_dtype"), frame


def make_mlp(task, frame, seed, threads):
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    categories = list_categories(frame)
    frame = frame.assign(**{name: frame[name].astype(object).fillna("?") for name in categories})
    numbers = [name for name in frame if name not in categories]
    preprocessing = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        ]
    )
    if task == "regression":
        mlp = TransformedTargetRegressor(
            MLPRegressor(random_state=seed), transformer=StandardScaler()
        )
    else:
        mlp = MLPClassifier(random_state=seed)
    return make_pipeline(preprocessing, mlp), frame


MAKERS = {
    "lightgbm": make_lightgbm,
    "catboost": make_catboost,
    "xgboost": make_xgboost,
    "histgradientboosting": make_histgradientboosting,
    "mlp": make_mlp,
}


def read_peak_mb():
    """Return the peak memory of this process in MB, as `our_fit` does."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def run_job(job):
    """Fit as a job says, write the predictions, and return the answer."""
    warnings.simplefilter("ignore")  # the MLP warns that it has not converged
    with np.load(job["table"], allow_pickle=False) as arrays:
        description = json.loads(str(arrays["description"]))
        frame = read_frame(arrays, description)
        target, train, test = arrays["target"], arrays["train"], arrays["test"]
    task = description["task"]
    model, frame = MAKERS[job["contender"]](task, frame, job["seed"], job["threads"])
    rows, test_rows = frame.iloc[train], frame.iloc[test]
    started = time.perf_counter()
    model.fit(rows, target[train])
    seconds = time.perf_counter() - started
    peak_mb = read_peak_mb()
    predictions = np.asarray(model.predict(test_rows)).reshape(-1)
    if task == "regression":
        np.savez(job["predictions"], values=predictions.astype(np.float64))
    else:
        probabilities = model.predict_proba(test_rows)
        np.savez(
            job["predictions"], labels=predictions.astype(np.int64), probabilities=probabilities
        )
    return {"seconds": seconds, "peak_mb": peak_mb}


if __name__ == "__main__":
    print(json.dumps(run_job(json.load(sys.stdin))))
