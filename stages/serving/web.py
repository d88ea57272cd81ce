"""The HTTP API described at /openapi.json, POST /predict and /explain, and a page that uses it.

Requests are limited in size and validated before the model sees them; an invalid one gets a
status of 4xx and the reasons.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp

from stages.serving.guard import LOOPBACK, Guard
from stages.commands.predict import as_json
from stages.commands.shares import Population, summary
from stages.core.errors import UserError
from stages.corpus.normalize import Rejected
from stages.serving.predictor import REASONS, UNSURE, Predictor

MAX_BODY_BYTES = 2**17
MAX_NAMES = 256  # of /predict
MAX_POPULATION = 5000  # names of /shares
MANY = 16  # requests with more names are computed one at a time, so that others need not wait
MAX_QUEUE = 16  # requests with many names that are computed or wait

Name = Annotated[str, Field(max_length=2000, examples=["Müller"])]


class Body(BaseModel):
    """Base of requests and responses."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class PredictRequest(Body):
    """Names to classify."""

    names: Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMES)]
    top: Annotated[int, Field(ge=1, le=1000, description="countries to list")] = 3
    abstain: Annotated[
        float, Field(ge=0, le=1, strict=False, description=f"answer `{UNSURE}` below this")
    ] = 0.0
    full_names: Annotated[bool, Field(description="find the surname in each name first")] = False


class Share(Body):
    """A country and its probability."""

    country: str
    probability: float


class Answer(Share):
    """The answer to one name: its country or `unsure`, why, its set, and the most probable few."""

    name: str
    reason: Literal[REASONS] = Field(description="why the country is `unsure`")  # type: ignore[valid-type]
    set: list[str] = Field(description="countries that contain the true one with 90 % probability")
    top: list[Share]


class PredictResponse(Body):
    """One answer per name, in their order; which model answered, and for what population."""

    model: str
    population: str
    predictions: list[Answer]


class SharesRequest(Body):
    """Names of a population."""

    names: Annotated[list[Name], Field(min_length=1, max_length=MAX_POPULATION)]
    full_names: Annotated[bool, Field(description="find the surname in each name first")] = False


class CountryShare(Body):
    """The share of a country, its 95 % interval, and the mean of the probabilities."""

    country: str
    share: float
    lower: float
    upper: float
    plain: float


class SharesResponse(Body):
    """What `onoma shares --json` writes."""

    model: str
    population: str
    names: int
    unsure: dict[str, int]
    effective_names: int
    method: Literal["em", "mean", "prior"]
    notes: list[str]
    shares: list[CountryShare]


class ExplainRequest(Body):
    """A name to explain."""

    name: Name


class Character(Body):
    """A character and the drop of the country's probability when it is left out."""

    character: str
    effect: float


class ExplainResponse(Body):
    """How much each character contributes to the most probable country."""

    method: Literal["occlusion"] = "occlusion"
    name: str
    country: str
    characters: list[Character]


class Fault(Body):
    """What is wrong, and where."""

    loc: list[str | int]
    msg: str
    type: str


class Faults(Body):
    """Why a request was refused."""

    detail: list[Fault]


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be parsed"},
    403: {"description": "A page of another site sent the request"},
    413: {"description": f"The body is larger than {MAX_BODY_BYTES} bytes"},
    421: {"description": "The header Host names another server"},
    422: {"model": Faults, "description": "The body does not match the schema"},
    503: {"description": "Too many requests with many names are waiting"},
}


def create_app(model: Predictor, hosts: Iterable[str] = LOOPBACK) -> ASGIApp:
    """The application around a model, which answers for these hosts only (see `Guard`)."""
    app = FastAPI(
        title="onoma",
        description="Which country does a surname come from? A surname is not a nationality.",
        version="1",
        max_body_size=MAX_BODY_BYTES,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
    )
    page = (files("stages.commands") / "page.html").read_text(encoding="utf-8")

    @app.exception_handler(RequestValidationError)
    def refuse(request: Request, error: RequestValidationError) -> Response:
        return refusal([(fault["loc"], fault["msg"], fault["type"]) for fault in error.errors()])

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> Response:  # async, as /healthz: not queued behind computations
        return HTMLResponse(page)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the server answers, and by which model."""
        return {"status": "ok", "model": model.model_hash}

    about = {"model": model.model_hash, "population": model.population}
    limiter = CapacityLimiter(1)  # of requests with many names

    async def in_turn(names: Sequence[str], compute: Callable[[], Response]) -> Response:
        many, queue = len(names) > MANY, limiter.statistics()
        if many and queue.borrowed_tokens + queue.tasks_waiting >= MAX_QUEUE:
            raise HTTPException(503, "busy; try again later, or with fewer names")
        return await to_thread.run_sync(compute, limiter=limiter if many else None)

    @app.post("/predict", responses=REFUSALS, response_model=PredictResponse)
    async def predict(asked: PredictRequest) -> Response:
        """Predict the country of each name."""

        def compute() -> Response:
            answers = model.answers(asked.names, asked.top, asked.abstain, asked.full_names)
            faults = [
                (("body", "names", row), str(answer), "unusable_name")
                for row, answer in enumerate(answers)
                if isinstance(answer, Rejected)
            ]
            if faults:
                return refusal(faults)
            return JSONResponse({**about, "predictions": list(map(as_json, asked.names, answers))})

        return await in_turn(asked.names, compute)

    @app.post("/shares", responses=REFUSALS, response_model=SharesResponse)
    async def shares(asked: SharesRequest) -> Response:
        """Estimate the shares of the countries in a population."""

        def compute() -> Response:
            people = Population(len(model.countries), seed=1)
            people.add(*model.ask(asked.names, asked.full_names)[:2])
            try:
                return JSONResponse({**about, **summary(model, people, None)})
            except UserError as error:
                return refusal([(("body",), str(error), "no_held_out_rows")])

        return await in_turn(asked.names, compute)

    @app.post("/explain", responses=REFUSALS, response_model=ExplainResponse)
    def explain(asked: ExplainRequest) -> Any:
        """Leave out each character in turn and compare the most probable country's probability."""
        try:
            name, country, effects = model.occlusion(asked.name)
        except Rejected as reason:
            return refusal([(("body", "name"), str(reason), "unusable_name")])
        characters = [
            {"character": character, "effect": effect}
            for character, effect in zip(name, effects.tolist(), strict=True)
        ]
        return {"name": name, "country": country, "characters": characters}

    model.predict(["Abe"])  # the first call is the slowest: no user should wait for it
    return Guard(app, hosts)


def refusal(faults: Sequence[tuple[Sequence[str | int], str, str]]) -> Response:
    """422 and the reasons, without the input, which may hold what JSON cannot represent."""
    detail = [{"loc": list(place), "msg": why, "type": kind} for place, why, kind in faults]
    return Response(json.dumps({"detail": detail}), 422, media_type="application/json")
