"""Recipe: everything a run depends on, one frozen value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.task import Split

STRICT = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
Share = Annotated[float, Field(ge=0, le=1)]


class ModelChoice(BaseModel):
    """One model: an open one (`from`) or a new one (`new`)."""

    model_config = STRICT

    from_: str | None = Field(None, alias="from", description="An open model: a hub id, `id@revision`, or a folder.")
    new: str | None = Field(None, description="A new architecture of the task, by name; see `commons tasks`.")
    options: dict[str, Any] = Field({}, description="Options of the new architecture; see the reference.")


class ModelSection(ModelChoice):
    """`model`: exactly one of `from`, `new` and `auto`."""

    auto: tuple[ModelChoice, ...] | None = Field(
        None, description="Candidates: each is tried for an equal short budget on validation data, the best is tuned."
    )
    try_minutes: Annotated[float, Field(gt=0)] = Field(1.0, description="Budget of each candidate under `auto`.")


class DataSection(BaseModel):
    """`data`: where rows come from and what is checked before anything is trained."""

    model_config = STRICT

    source: str = Field(description="A file, a folder, `bundled:NAME`, or a hub data set id.")
    revision: str | None = Field(None, description="Revision of a hub data set.")
    license: str | None = Field(None, description="Licence of the data where the source does not say it.")
    columns: dict[str, str] = Field({}, description="role: column name, where names cannot be guessed (text, label, ...).")
    split: Split = Field(Split(), description="How rows are divided where there is no official division.")
    checks: tuple[Literal["schema", "duplicates", "leaks", "balance", "personal-data"], ...] = Field(
        ("schema", "duplicates", "leaks", "balance", "personal-data"), description="What `prepare` looks at."
    )
    allow_bad_rows: Share = Field(0.0, description="Share of rows that may be unreadable; they are left out.")
    duplicates: Literal["drop", "keep"] = Field("drop", description="Exact duplicates inside the training rows.")
    leaks: Literal["report", "drop"] = Field(
        "report", description="Training rows that also stand in the test: report both scores, or drop them from train."
    )
    personal_data: Literal["report", "mask", "refuse"] = Field("report", description="E-mail, phone, card, id numbers.")
    options: dict[str, Any] = Field({}, description="Options of the task (horizon, image size, ...); see the reference.")


class EvaluateSection(BaseModel):
    """`evaluate`: how the test rows are scored, once."""

    model_config = STRICT

    protocol: str | None = Field(None, description="A versioned rule such as `fashion-mnist/v1`; the data must match it.")
    slices: tuple[str, ...] = Field((), description="Also score these parts of the test; names are the task's.")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of bootstrap intervals.")


class ExplainSection(BaseModel):
    """`explain`: what single answers rested on, with a test of the explanation itself."""

    model_config = STRICT

    examples: Annotated[int, Field(ge=0, le=200)] = Field(8, description="How many test rows are explained; 0: none.")
    trials: Annotated[int, Field(ge=1)] = Field(10, description="Random deletions each explanation is compared with.")


class ShrinkSection(BaseModel):
    """`shrink`: exports that are scored like their parent. A plain list, `shrink: [int8]`, is the same as `formats`."""

    model_config = STRICT

    formats: tuple[Literal["onnx", "int8"], ...] = Field((), description="`onnx` (fp32) and `int8`, by onnxruntime.")
    max_loss: Annotated[float, Field(ge=0)] = Field(
        0.01, description="How much worse the main metric may be, as a share of its parent's value."
    )


class PrivacySection(BaseModel):
    """`privacy`: reserved; no key is accepted yet."""

    model_config = STRICT


class PublishSection(BaseModel):
    """`publish`: the model folder, and where it is uploaded."""

    model_config = STRICT

    repo: str | None = Field(None, description="owner/name on the hub at HF_ENDPOINT; nothing is uploaded without it.")
    license: str = Field("auto", description="`auto`: from base model and data, refused when unknown; or an identifier.")
    visibility: Literal["private", "public"] = Field("private", description="Of a repository that is made new.")
    language: Literal["en", "zh"] = Field("en", description="Language of card and report.")
    name: str | None = Field(None, description="Title on the card; the recipe's file name otherwise.")


class Recipe(BaseModel):
    """One YAML file. Unknown keys are errors; `Recipe.digest` names the run."""

    model_config = STRICT

    task: str = Field(description="What is asked of the model: see `commons tasks`.")
    model: ModelSection
    data: DataSection
    tune: Training = Training()
    evaluate: EvaluateSection = EvaluateSection()
    explain: ExplainSection = ExplainSection()
    shrink: ShrinkSection = ShrinkSection()
    privacy: PrivacySection = PrivacySection()
    publish: PublishSection = PublishSection()
