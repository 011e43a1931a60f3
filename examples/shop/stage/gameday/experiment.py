"""An experiment as it is written: a TOML file, checked before anything happens.

`deploy/chaos/` has the experiments of the shop and the JSON Schema of the format. The control room, the command
`gameday`, the tests and the generator of Chaos Mesh's resources all read these files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shop.settings import DEPLOYABLES, VISITORS_MAX
from shop.stage.faults import KINDS, TTL_MAX_S
from shop.validation import FieldError, InvalidInput

BUYERS_MAX = 200
_Text = Annotated[str, Field(min_length=1, max_length=400)]
_Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
_REST = r"[A-Za-z0-9/_?=&.-]*"
_Path = Annotated[str, Field(pattern=rf"^/(livez|readyz|products{_REST}|api/v1/{_REST})?$", max_length=200)]
_Seconds = Annotated[int, Field(ge=1, le=TTL_MAX_S)]
_Percent = Annotated[int, Field(ge=1, le=100)]
_Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Check(_Part):
    """Something that can be looked at: a figure of the control room (`of`), or an answer of the shop (`get`).

    A figure is compared with `equals`, `above` or `below`. Besides the state of the control room there is `since`:
    for each objective its `events`, `errors` and `error_percent` since the game day began; and `broken`, the number of
    invariants that do not hold.
    """

    name: _Text
    of: Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z0-9_-]+)*$")] | None = None
    equals: bool | int | float | str | None = None
    above: int | float | None = None
    below: int | float | None = None
    get: _Path | None = None
    status: Annotated[int, Field(ge=100, le=599)] = 200
    within_s: Annotated[float, Field(gt=0, le=20)] = 5.0

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Check:
        if (self.of is None) == (self.get is None):
            raise ValueError("must have either `of` or `get`")
        if self.of is not None and not self.bounds():
            raise ValueError("`of` needs `equals`, `above` or `below`")
        return self

    def bounds(self) -> dict[str, Any]:
        """What a figure is compared with."""
        given = {"equals": self.equals, "above": self.above, "below": self.below}
        return {name: value for name, value in given.items() if value is not None}

    def wanted(self) -> str:
        """The check in words."""
        if self.get is not None:
            return f"GET {self.get} is {self.status} within {self.within_s:g} s"
        return f"{self.of} {', '.join(f'{name} {value}' for name, value in self.bounds().items())}"


class Hypothesis(Check):
    """What is expected while the faults last: at their end, or with `throughout` at each look."""

    throughout: bool = False


class PlannedFault(_Part):
    """A fault that begins some seconds after the experiment."""

    target: str
    kind: str
    percent: _Percent = 100
    ttl_s: _Seconds
    seed: _Seed = 1
    after_s: Annotated[int, Field(ge=0, le=TTL_MAX_S)] = 0

    @model_validator(mode="after")
    def _is_known(self) -> PlannedFault:
        if self.kind not in KINDS.get(self.target, ()):
            raise ValueError(f"{self.target} has no fault {self.kind}; the kinds by target: {KINDS}")
        return self

    def body(self) -> dict[str, Any]:
        """The fault as the control room takes it."""
        return self.model_dump(exclude={"after_s"})


class ClusterFault(_Part):
    """What only a cluster can do to the pods of a deployable: `kill` them, or keep their processors busy (`cpu`)."""

    target: Literal[tuple(DEPLOYABLES)]  # type: ignore[valid-type]  # the registry says which names there are
    kind: Literal["kill", "cpu"]
    percent: _Percent = 100
    ttl_s: _Seconds


class BlastRadius(_Part):
    """How far the harm may go: which targets, and which share of their requests."""

    targets: Annotated[list[str], Field(min_length=1)]
    percent_max: _Percent
    note: _Text


class Load(_Part):
    """Who is in the shop meanwhile: the visitors of the load dial, and people who buy once, one after the other."""

    visitors: Annotated[int, Field(ge=0, le=VISITORS_MAX)] | None = None
    buyers: Annotated[int, Field(ge=0, le=BUYERS_MAX)] = 0


class Experiment(_Part):
    """A game day: what should stay true, what is broken, when to stop, and for how long."""

    name: _Slug
    title: _Text
    hypothesis: _Text
    duration_s: _Seconds
    recover_s: _Seconds = 60
    """How long the shop may take to be as before, once the faults are withdrawn."""
    blast_radius: BlastRadius
    load: Load = Load()
    steady_state: Annotated[list[Check], Field(min_length=1)]
    hypotheses: Annotated[list[Hypothesis], Field(min_length=1)]
    abort: Annotated[list[Check], Field(min_length=1)]
    """The faults are withdrawn at once where one of these is true."""
    faults: Annotated[list[PlannedFault], Field(min_length=1)]
    cluster_faults: list[ClusterFault] = []

    @model_validator(mode="after")
    def _stays_inside(self) -> Experiment:
        faults: list[PlannedFault | ClusterFault] = [*self.faults, *self.cluster_faults]
        for fault in faults:
            if fault.target not in self.blast_radius.targets or fault.percent > self.blast_radius.percent_max:
                raise ValueError(f"{fault.target}, {fault.percent} %, is beyond the blast radius")
        late = [fault.target for fault in self.faults if fault.after_s >= self.duration_s]
        if late:
            raise ValueError(f"the faults of {', '.join(late)} would begin after the end")
        return self


def parse(text: str) -> Experiment:
    """An experiment from its file's text; InvalidInput names each field that cannot be accepted."""
    try:
        return Experiment.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(FieldError("/toml", f"is no TOML: {error}")) from None
    except ValidationError as error:
        raise InvalidInput(*(FieldError(_pointer(one), one["msg"]) for one in error.errors())) from None


def _pointer(error: Mapping[str, Any]) -> str:
    return "/" + "/".join(map(str, error["loc"]))


def schema() -> dict[str, Any]:
    """The format as a JSON Schema."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
