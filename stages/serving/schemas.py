"""Bodies of requests to the HTTP API and of its responses."""

from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from stages.serving.countries import CountryFacts
from stages.serving.prediction import Prediction

MAX_NAMES = 20_000  # of a request, and rows of a file
Name = Annotated[str, Field(max_length=2000, examples=["Müller"])]


class Body(BaseModel):
    """Base of requests and responses."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Reading(Body):
    """How names are read."""

    full_names: Annotated[bool, Field(description="find the surname in each name first")] = False


class ExplainRequest(Reading):
    """A name to explain."""

    name: Name


class SharesRequest(Reading):
    """Names of a population."""

    names: Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMES)]


class PredictRequest(SharesRequest):
    """Names to classify."""

    top: int = Field(3, ge=1, le=1000, description="countries to list")
    abstain: float = Field(0.0, ge=0, le=1, strict=False, description="`unsure` below this")


class Response(Body):
    """Which model answered, and for what population."""

    model: str
    population: str


class Share(Body):
    """A country and its probability."""

    country: str
    probability: float


def _object(source: type[NamedTuple], **types: Any) -> Any:
    """The JSON object with the fields of a named tuple, but for those of other ``types``."""
    fields: Any = {name: (type, ...) for name, type in (get_type_hints(source) | types).items()}
    return create_model(source.__name__, __base__=Body, __doc__=source.__doc__, **fields)


class PredictResponse(Response):
    """One answer per name, in their order."""

    predictions: list[_object(Prediction, name=str, top=list[Share])]  # type: ignore[valid-type]


class CountriesResponse(Response):
    """The countries of a model, and of what population the training names are."""

    countries: list[_object(CountryFacts)]  # type: ignore[valid-type]


class CountryShare(Body):
    """The share of a country, its 95 % interval, and the mean of the probabilities."""

    country: str
    share: float
    lower: float
    upper: float
    plain: float


class SharesResponse(Response):
    """What `onoma shares --json` writes."""

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
