"""Bodies of requests to the HTTP API and of its responses."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_NAMES = 20_000  # of a request, and rows of a file
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


class Answer(Body):
    """The answer to one name; without a country if the text is no name."""

    name: str
    country: str | None = Field(description="the most probable one, or `unsure`")
    probability: float | None
    reason: str | None = Field(description="why the country is `unsure`, or the text no name")
    set: list[str] = Field(description="countries that contain the true one with 90 % probability")
    top: list[Share]
    group: str | None = Field(description="the group of countries that the country is in")
    group_probability: float | None
    kind: str | None = Field(description="surname or full name, as the model takes the text")
    read_as: str | None = Field(description="the name answered, if its words are others")


class PredictResponse(Body):
    """One answer per name, in their order; which model answered, and for what population."""

    model: str
    population: str
    predictions: list[Answer]


class CountryFacts(Body):
    """A country that the model knows."""

    country: str
    group: str | None
    names: int | None = Field(description="training names; null if the model does not say")
    held_out: int = Field(description="names that are held out of the training and kept")
    f1: float | None = Field(description="on the held-out names")
    coverage: float | None = Field(description="share of these whose set has the country")


class CountriesResponse(Body):
    """The countries of a model, and of what population the training names are."""

    model: str
    population: str
    countries: list[CountryFacts]


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
