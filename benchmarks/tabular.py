"""Breast cancer, wine and diabetes: our three models, and scikit-learn's on the same rows, chosen by cross-validation.

python benchmarks/tabular.py

scikit-learn's models are given the training and validation rows, as ours are, and choose their settings by five-fold
cross-validation on them; the test rows judge once.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, heading, measured, published

from modelcommons.formats import predictions
from modelcommons.workbench.engine.statistics import paired
from modelcommons.workbench.fields import find

MODELS = ("linear", "boosting", "mlp")
SETS = ("breast-cancer", "wine", "diabetes")


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/breast_cancer"))
    wanted.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    wanted.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    for name in given.sets:
        overrides = (f"data.source={given.data}",) if name == "breast-cancer" else ()
        ours = {}
        for model in given.models:
            ours[model] = measured(name, given.out / f"{name}-{model}", f"model.new={model}", *overrides)
            report(f"{name}, {model}", ours[model])
        theirs(name, ours)
        published(f"{name}/v1")


def report(name: str, one: Measured) -> None:
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    told = (
        f"{score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] ({main.baseline_name} {floor.value:.4f})"
        for score, floor in zip(main.scores, main.baseline, strict=True)
    )
    print(
        f"{name}: {' · '.join(told)} · {main.num_rows:,} rows · held out {fit.metric} {fit.value:.4f} · "
        f"{fit.parameters:,} numbers · {one.minutes:.1f} min",
        flush=True,
    )


def theirs(name: str, ours: dict[str, Measured]) -> None:
    """scikit-learn's usual models on the rows of our first run, each with paired p values against ours."""
    from modelcommons.workbench.engine.progress import Silent
    from modelcommons.workbench.fields.tabular.encoder import Encoder
    from modelcommons.workbench.folder import RunFolder
    from modelcommons.workbench.stages.get import get_source
    from modelcommons.workbench.stages.prepare import prepare

    run = next(iter(ours.values())).run
    task = find(run.recipe.task)
    data: Any = prepare(task, get_source(run.recipe.data), run.recipe, RunFolder(run.folder / "again"), Silent()).parts
    rows = [*data.train, *data.validation]
    encoder = Encoder.of(data.train.columns)
    columns = {key: np.array([row.x[key] for row in rows], np.float64) for key in encoder.names}
    x, y = encoder.encode(columns), np.array([row.y for row in rows])
    test = {key: np.array([row.x[key] for row in data.test], np.float64) for key in encoder.names}
    test_x, test_y = encoder.encode(test), np.array([row.y for row in data.test])
    our_losses = {
        model: task.losses(predictions.read(one.run.folder / one.run.scored.main.predictions))
        for model, one in ours.items()
    }
    regression = run.recipe.task.endswith("regression")
    for model, search in searches(regression).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = search.fit(x, y).predict(test_x)
        losses = (answer - test_y) ** 2 if regression else (answer != test_y).astype(float)
        value = float(np.sqrt(losses.mean())) if regression else float(1 - losses.mean())
        told = ", ".join(f"{name} {paired(mine, losses, 0):.2g}" for name, mine in our_losses.items())
        metric = "rmse" if regression else "accuracy"
        print(f"    scikit-learn {model}: {metric} {value:.4f} (p against ours: {told})", flush=True)


def searches(regression: bool) -> dict[str, Any]:
    """Each with a small grid, as its documentation suggests."""
    from sklearn import ensemble, linear_model, svm
    from sklearn.model_selection import GridSearchCV

    ridges = np.logspace(-3, 3, 7)
    if regression:
        return {
            "RidgeCV": linear_model.RidgeCV(alphas=ridges),
            "LassoCV": linear_model.LassoCV(cv=5),
            "SVR": GridSearchCV(svm.SVR(), {"C": [1, 10, 100], "gamma": ["scale", 0.01]}, cv=5),
            "RandomForestRegressor": ensemble.RandomForestRegressor(300, random_state=0),
            "GradientBoostingRegressor": GridSearchCV(
                ensemble.GradientBoostingRegressor(random_state=0),
                {"n_estimators": [50, 150], "max_depth": [1, 2, 3], "learning_rate": [0.1]}, cv=5,
            ),
        }  # fmt: skip
    return {
        "LogisticRegressionCV": GridSearchCV(
            linear_model.LogisticRegression(max_iter=2000), {"C": ridges.tolist()}, cv=5
        ),
        "SVC": GridSearchCV(svm.SVC(), {"C": [1, 10, 100], "gamma": ["scale", 0.01]}, cv=5),
        "RandomForestClassifier": ensemble.RandomForestClassifier(300, random_state=0),
        "GradientBoostingClassifier": GridSearchCV(
            ensemble.GradientBoostingClassifier(random_state=0),
            {"n_estimators": [50, 150], "max_depth": [1, 3]}, cv=5,
        ),
    }  # fmt: skip


if __name__ == "__main__":
    main()
