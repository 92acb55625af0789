"""Records: values that outlive the release that wrote them.

While a new release is rolled out, containers of the old one still work on the same store. So:

- A field may be added at any time, with a default: old code keeps fields that it does not know
  when it rewrites a record, new code does without those that old code has not written.
- Any other change of what is written (another meaning, another value of an enumeration, a field
  that goes) raises the class's `SCHEMA`: old code then leaves the record to new code. The class
  must still read what was written under the numbers before.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.kv import StoreError


class RecordTooNew(StoreError):
    """A record was written by a newer release, under a schema that this one does not know."""

    def __init__(self, kind: type["Record"], number: int) -> None:
        super().__init__(
            f"{kind.__name__} has schema {number}, this release knows {kind.SCHEMA} at most: "
            "it is left to the release that wrote it"
        )


class Part(BaseModel):
    """A value within a record: never changed, and it keeps fields that it does not know."""

    # No value of a record that cannot be read goes into a log: it may be a prompt or a secret.
    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)


class Record(Part):
    """The value of an item in the store. Reading raises `RecordTooNew` if its schema is newer.

    What is read has this release's number: a rewrite is in this release's schema.
    """

    SCHEMA: ClassVar[int] = 1

    schema_number: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _refuse_newer(cls, stored: Any) -> Any:
        # Before any field is looked at: a newer schema may have given it another meaning.
        if not isinstance(stored, dict):
            return stored
        number = stored.get("schema_number", 1)
        if not isinstance(number, int) or number < 1:
            return stored  # the field's own check says so
        if number > cls.SCHEMA:
            raise RecordTooNew(cls, number)
        return {**stored, "schema_number": cls.SCHEMA}
