"""Error messages describe counts, accepted values and similar names in words."""

from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from serving.bundle import describe_invalid_value, pluralize, suggest_name


class Sample(BaseModel):
    whole: int = Field(0, ge=0, le=9)
    least: int = Field(1, ge=1)
    most: int = Field(1, le=1)
    positive: float = Field(1, gt=0)
    share: float = Field(0, ge=0, lt=1)
    free: float = 0
    maybe: Annotated[int, Field(ge=1)] | None = None
    flag: bool = False
    pair: Literal["a", "b"] = "a"
    several: Literal["a", "b", "c"] = "a"
    named: str = Field("x", pattern="^x")
    filled: str = Field("x", min_length=1)
    listed: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("whole", 10, "a whole number from 0 to 9; got 10"),
        ("whole", "x", "a whole number from 0 to 9; got 'x'"),
        ("least", 0, "a whole number of at least 1; got 0"),
        ("most", 2, "a whole number of at most 1; got 2"),
        ("positive", 0, "a number above 0; got 0"),
        ("share", 1, "a number of at least 0 and below 1; got 1"),
        ("free", "x", "a number; got 'x'"),
        ("maybe", 0, "a whole number of at least 1; got 0"),
        ("flag", "x", "true or false; got 'x'"),
        ("pair", "x", "a or b; got 'x'"),
        ("several", "x", "one of a, b or c; got 'x'"),
        ("named", "y", "a text that matches ^x; got 'y'"),
        ("named", 1, "a text that matches ^x; got 1"),
        ("filled", "", "a text that is not empty; got ''"),
        ("listed", ["x"], "a list, separated by commas, each a whole number; got 'x'"),
    ],
)
def test_describe_invalid_value_names_the_accepted_values_and_the_value(field, value, expected):
    with pytest.raises(ValidationError) as caught:
        Sample(**{field: value})
    (error,) = caught.value.errors()
    assert describe_invalid_value(error, Sample) == f"expected {expected}"


def test_describe_invalid_value_message_of_a_validator_is_not_extended():
    def refuse(value):
        raise ValueError(f"expected f1, as in f1; got {value!r}")

    class Own(BaseModel):
        aim: Annotated[str, AfterValidator(refuse)]

    with pytest.raises(ValidationError) as caught:
        Own(aim="f2")
    assert (
        describe_invalid_value(caught.value.errors()[0], Own) == "expected f1, as in f1; got 'f2'"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("AGE", "; did you mean Age?"), ("jobs", "; did you mean job?"), ("zebra", ""), ("", "")],
)
def test_suggest_name_proposes_a_similar_name_if_there_is_one(name, expected):
    assert suggest_name(name, ["Age", "job", "income"]) == expected


@pytest.mark.parametrize(("number", "text"), [(0, "0 keys"), (1, "1 key"), (2000, "2000 keys")])
def test_pluralize_adds_an_s_except_for_one(number, text):
    assert pluralize(number, "key") == text
