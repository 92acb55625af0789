"""Records: fields that are not known are kept, schemas that are not known are refused."""

from typing import ClassVar

import pytest
from pydantic import ValidationError

from storage.kv import StoreError
from storage.record import Part, Record, RecordTooNew


class Wheel(Part):
    spokes: int


class Bicycle(Record):
    """A record whose schema has changed once."""

    SCHEMA: ClassVar[int] = 2

    colour: str
    front: Wheel


def stored(**fields: object) -> dict[str, object]:
    return {"colour": "green", "front": {"spokes": 32}, **fields}


def test_a_new_record_has_the_schema_of_its_class() -> None:
    assert Bicycle(colour="green", front=Wheel(spokes=32)).schema_number == 2


def test_a_record_from_before_there_were_numbers_is_of_the_first_schema() -> None:
    class Bell(Record):
        tone: str

    assert Bell.model_validate({"tone": "a"}).schema_number == 1


def test_what_was_written_under_an_older_schema_is_rewritten_under_this_one() -> None:
    assert Bicycle.model_validate(stored(schema_number=1)).model_dump()["schema_number"] == 2


def test_a_newer_schema_is_refused_and_both_numbers_are_told() -> None:
    with pytest.raises(RecordTooNew, match="Bicycle has schema 3, this release knows 2 at most"):
        Bicycle.model_validate(stored(schema_number=3))


def test_a_newer_schema_is_refused_before_its_fields_are_looked_at() -> None:
    with pytest.raises(RecordTooNew):
        Bicycle.model_validate({"schema_number": 3, "colour": 7})


def test_a_newer_schema_is_refused_in_text_too() -> None:
    with pytest.raises(RecordTooNew):
        Bicycle.model_validate_json('{"schema_number": 3}')


def test_a_refusal_is_the_stores() -> None:
    assert issubclass(RecordTooNew, StoreError)


@pytest.mark.parametrize("number", [0, -1, "two", None])
def test_what_is_no_number_is_no_record(number: object) -> None:
    with pytest.raises(ValidationError, match="schema_number"):
        Bicycle.model_validate(stored(schema_number=number))


def test_what_is_no_object_is_no_record() -> None:
    with pytest.raises(ValidationError):
        Bicycle.model_validate([1])


def test_reading_leaves_the_stored_value_as_it_was() -> None:
    value = stored(schema_number=1)
    Bicycle.model_validate(value)
    assert value == stored(schema_number=1)


def test_unknown_fields_are_kept_at_every_level() -> None:
    value = stored(bell="brass", front={"spokes": 32, "tyre": {"width_mm": 28}})
    repainted = Bicycle.model_validate(value).model_copy(update={"colour": "red"})
    assert repainted.model_dump(mode="json") == {**value, "colour": "red", "schema_number": 2}


def test_a_record_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Bicycle.model_validate(stored()).colour = "red"
