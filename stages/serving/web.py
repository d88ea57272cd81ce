"""The HTTP API described at /openapi.json, and a page that uses it."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from importlib.resources import files
from itertools import islice
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from stages.core.errors import UserError
from stages.corpus.normalize import Rejected
from stages.serving import schemas
from stages.serving.countries import about_countries
from stages.serving.guard import LOOPBACK, guarded
from stages.serving.predictor import Predictor
from stages.serving.schemas import MAX_NAMES
from stages.serving.upload import Upload

MAX_BODY_BYTES = 600 * MAX_NAMES  # a name of 100 characters as JSON's escapes
BATCH = 1000  # rows of a file that are answered at once
MANY = 16  # requests with more names are computed one at a time, so that others need not wait
MAX_QUEUE = 16  # requests with many names that are computed or wait
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {} for code in (400, 403, 408, 413, 415, 421, 503)
}
TEXT = {"schema": {"type": "string"}}
TABLE = {"requestBody": {"required": True, "content": {"text/csv": TEXT}}}
LINES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-ndjson": TEXT}}}
ASKS = {"surnames": "Surname", "full": "Full name", "both": "Surname or full name"}
T = TypeVar("T")


def create_app(model: Predictor, hosts: Iterable[str] = LOOPBACK) -> ASGIApp:
    """The page and the API around a model, for these hosts (see `guarded`)."""
    question = "Which country does a name come from? A name is not a nationality."
    app = FastAPI(  # its pages about itself are off: they load scripts from elsewhere
        title="onoma", description=question, version="1", docs_url=None, redoc_url=None
    )
    page = (files(__package__) / "page.html").read_text(encoding="utf-8")
    page = page.replace("{{countries}}", str(len(model.countries)))
    page = page.replace("{{names}}", f"{MAX_NAMES:,}").replace("{{asks}}", ASKS[model.reads])
    page = page.replace("{{hidden}}", "hidden" if model.config.reads_full_names else "")
    about = {"model": model.model_hash, "population": model.population}
    limiter = CapacityLimiter(1)  # of requests with many names

    @app.exception_handler(RequestValidationError)
    def refuse(request: Request, error: RequestValidationError) -> Response:
        """Say why, without the input, which may hold what JSON cannot represent."""
        detail = [{key: fault[key] for key in ("loc", "msg", "type")} for fault in error.errors()]
        if detail[0]["loc"][0] == "body" and "json" not in request.headers.get("content-type", ""):
            return JSONResponse({"detail": "send Content-Type: application/json"}, 415)
        return Response(json.dumps({"detail": detail}), 422, media_type="application/json")

    async def in_turn(count: int, compute: Callable[[], T]) -> T:
        """Compute something about so many names."""
        many, queue = count > MANY, limiter.statistics()
        if many and queue.borrowed_tokens + queue.tasks_waiting >= MAX_QUEUE:
            raise HTTPException(503, "busy; try again later, or with fewer names")
        return await to_thread.run_sync(compute, limiter=limiter if many else None)

    @app.head("/", include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> str:  # async, as /healthz: not queued behind computations
        return page

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the server answers, and by which model."""
        return {"status": "ok", "model": model.model_hash}

    @app.get("/countries", response_model=schemas.CountriesResponse)
    def countries() -> Any:
        """List the countries that the model knows, and how well."""
        return {**about, "countries": [facts._asdict() for facts in about_countries(model)]}

    @app.post("/predict", responses=REFUSALS, response_model=schemas.PredictResponse)
    async def predict(request: schemas.PredictRequest) -> Response:
        """Predict the country of each name."""

        def compute() -> Response:
            answers = model.predict(**dict(request))
            return JSONResponse({**about, "predictions": [each.to_json() for each in answers]})

        return await in_turn(len(request.names), compute)

    @app.post("/file", responses=REFUSALS | LINES, response_class=Response, openapi_extra=TABLE)
    async def file(
        request: Request,
        column: str | None = None,
        header: bool | None = None,
        top: Annotated[int, Query(ge=1, le=1000)] = 3,
        abstain: Annotated[float, Query(ge=0, le=1)] = 0.0,
        full_names: bool = False,
    ) -> Response:
        """Answer the names in a table.

        Lines of JSON: how the table was read; `predictions`, many times; the `shares` of the
        countries, and whether there are `more` rows, which are not read. A line with an `error`
        may come instead.
        """
        if not request.headers.get("content-type"):
            raise HTTPException(415, "send Content-Type: text/csv")
        try:
            upload = await in_turn(MANY + 1, partial(Upload, await request.body(), column, header))
        except UserError as error:
            raise refusal("no_table", error) from None
        if upload.column is None:
            raise refusal("no_column", "which column holds the names?", columns=upload.columns)

        def answer() -> Iterator[dict[str, Any]]:
            yield about | upload.about()
            rows, names = upload.rows(), list[str]()
            first_rows = islice(rows, MAX_NAMES)
            try:
                while batch := list(islice(first_rows, BATCH)):
                    names += [text for text, reason in batch if not reason]
                    readable = [None if reason else text for text, reason in batch]
                    answers = model.predict(readable, top, abstain, full_names)
                    predictions = (
                        answer._replace(name=text, reason=reason or answer.reason)
                        for answer, (text, reason) in zip(answers, batch, strict=True)
                    )
                    yield {"predictions": [each.to_json() for each in predictions]}
                more = next(rows, None) is not None
            except UserError as error:
                yield {"error": str(error)}
            else:
                shares = model.shares(names, full_names) if names and model.held_out else None
                yield {"shares": shares, "more": more}

        async def lines() -> AsyncIterator[str]:
            parts = answer()
            while part := await to_thread.run_sync(next, parts, None, limiter=limiter):
                yield json.dumps(part) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.post("/shares", responses=REFUSALS, response_model=schemas.SharesResponse)
    async def shares(request: schemas.SharesRequest) -> Response:
        """Estimate the shares of the countries in a population."""

        def compute() -> Response:
            try:
                return JSONResponse(model.shares(**dict(request)))
            except UserError as error:
                raise refusal("no_held_out_rows", error) from None

        return await in_turn(len(request.names), compute)

    @app.post("/explain", responses=REFUSALS, response_model=schemas.ExplainResponse)
    def explain(request: schemas.ExplainRequest) -> Any:
        """Leave out each character in turn and compare the most probable country's probability."""
        try:
            name, country, effects = model.occlusion(**dict(request))
        except Rejected as reason:
            raise refusal("unusable_name", reason, "name") from None
        pairs = zip(name, effects.tolist(), strict=True)
        characters = [{"character": character, "effect": effect} for character, effect in pairs]
        return {"name": name, "country": country, "characters": characters}

    model.predict(["Abe"])  # the first call is the slowest: no user should wait for it
    return guarded(app, hosts, MAX_BODY_BYTES)


def refusal(kind: str, why: object, *loc: str, **more: object) -> HTTPException:
    """What is wrong with a body, as FastAPI describes it."""
    return HTTPException(422, [{"loc": ["body", *loc], "msg": str(why), "type": kind, **more}])
