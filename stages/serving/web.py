"""The HTTP API described at /openapi.json, and a page that uses it."""

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

from stages.core.errors import UserError
from stages.corpus.normalize import Rejected
from stages.serving.guard import LOOPBACK, guarded
from stages.serving.prediction import REASONS
from stages.serving.predictor import Predictor

MAX_NAMES = 5000  # of a request
MAX_BODY_BYTES = 600 * MAX_NAMES  # a name of 100 characters as JSON's escapes
MANY = 16  # requests with more names are computed one at a time, so that others need not wait
MAX_QUEUE = 16  # requests with many names that are computed or wait
REFUSALS: dict[int | str, dict[str, Any]] = {code: {} for code in (400, 403, 408, 413, 421, 503)}
Name = Annotated[str, Field(max_length=2000, examples=["Müller"])]


class Body(BaseModel):
    """Base of requests and responses."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ExplainRequest(Body):
    """A name to explain."""

    name: Name


class SharesRequest(Body):
    """Names of a population."""

    names: Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMES)]
    full_names: Annotated[bool, Field(description="find the surname in each name first")] = False


class PredictRequest(SharesRequest):
    """Names to classify."""

    top: int = Field(3, ge=1, le=1000, description="countries to list")
    abstain: float = Field(0.0, ge=0, le=1, strict=False, description="`unsure` below this")


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


def create_app(model: Predictor, hosts: Iterable[str] = LOOPBACK) -> ASGIApp:
    """The page and the API around a model, for these hosts (see `guarded`)."""
    question = "Which country does a surname come from? A surname is not a nationality."
    app = FastAPI(  # its pages about itself are off: they load scripts from elsewhere
        title="onoma", description=question, version="1", docs_url=None, redoc_url=None
    )
    page = (files("stages.serving") / "page.html").read_text(encoding="utf-8")
    about = {"model": model.model_hash, "population": model.population}
    limiter = CapacityLimiter(1)  # of requests with many names

    @app.exception_handler(RequestValidationError)
    def refuse(request: Request, error: RequestValidationError) -> Response:
        """Say why, without the input, which may hold what JSON cannot represent."""
        detail = [{key: fault[key] for key in ("loc", "msg", "type")} for fault in error.errors()]
        return Response(json.dumps({"detail": detail}), 422, media_type="application/json")

    async def in_turn(names: Sequence[str], compute: Callable[[], Response]) -> Response:
        many, queue = len(names) > MANY, limiter.statistics()
        if many and queue.borrowed_tokens + queue.tasks_waiting >= MAX_QUEUE:
            raise HTTPException(503, "busy; try again later, or with fewer names")
        return await to_thread.run_sync(compute, limiter=limiter if many else None)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> str:  # async, as /healthz: not queued behind computations
        return page

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the server answers, and by which model."""
        return {"status": "ok", "model": model.model_hash}

    @app.post("/predict", responses=REFUSALS, response_model=PredictResponse)
    async def predict(request: PredictRequest) -> Response:
        """Predict the country of each name."""

        def compute() -> Response:
            predictions, faults = [], []
            options = request.top, request.abstain, request.full_names
            for row, answer in enumerate(model.answers(request.names, *options)):
                if isinstance(answer, Rejected):
                    faults.append(fault("unusable_name", str(answer), "names", row))
                else:
                    predictions.append(answer.to_json())
            if faults:
                raise HTTPException(422, faults)
            return JSONResponse({**about, "predictions": predictions})

        return await in_turn(request.names, compute)

    @app.post("/shares", responses=REFUSALS, response_model=SharesResponse)
    async def shares(request: SharesRequest) -> Response:
        """Estimate the shares of the countries in a population."""

        def compute() -> Response:
            try:
                return JSONResponse(model.shares(request.names, request.full_names))
            except UserError as error:
                raise HTTPException(422, [fault("no_held_out_rows", str(error))]) from None

        return await in_turn(request.names, compute)

    @app.post("/explain", responses=REFUSALS, response_model=ExplainResponse)
    def explain(request: ExplainRequest) -> Any:
        """Leave out each character in turn and compare the most probable country's probability."""
        try:
            name, country, effects = model.occlusion(request.name)
        except Rejected as reason:
            raise HTTPException(422, [fault("unusable_name", str(reason), "name")]) from None
        pairs = zip(name, effects.tolist(), strict=True)
        characters = [{"character": character, "effect": effect} for character, effect in pairs]
        return {"name": name, "country": country, "characters": characters}

    model.predict(["Abe"])  # the first call is the slowest: no user should wait for it
    return guarded(app, hosts, MAX_BODY_BYTES)


def fault(kind: str, why: str, *loc: str | int) -> dict[str, object]:
    """What is wrong with a body, as FastAPI describes it."""
    return {"loc": ["body", *loc], "msg": why, "type": kind}
