import json
from pathlib import Path

import pytest

from inference.errors import WeightsBad
from tests.inference.creative import tiny
from tests.inference.creative.written import (
    change,
    load,
)


def test_texts_become_merged_tokens_between_both_ends(written: Path) -> None:
    numbers = tiny.vocabulary()
    words = ["<|startoftext|>", "the</w>", "cat</w>", "a</w>", "th", "y</w>", "<|endoftext|>"]
    found = load(written).tokenizer("The  CAT a thy").input_ids
    assert found == [numbers[word] for word in words]


def test_no_text_has_unknown_tokens(written: Path) -> None:
    tokenizer = load(written).tokenizer
    inner = tokenizer("Ünï 猫 🐈 \x00 42%").input_ids[1:-1]
    assert len(inner) > 10
    assert tokenizer.unk_token_id not in inner


@pytest.mark.parametrize("token", ["a</w>", "<|endoftext|>", "cat</w>"])
def test_a_vocabulary_with_a_hole_is_refused(files: Path, token: str) -> None:
    numbers = tiny.vocabulary()
    numbers["strange"] = numbers.pop(token)
    (files / "checkpoint/tokenizer/vocab.json").write_text(json.dumps(numbers))
    with pytest.raises(WeightsBad, match=r"lacks 1 tokens"):
        load(files)


@pytest.mark.parametrize("more", [{"strange": 518}, {"a": 517}, {"a": "one"}])
def test_a_vocabulary_of_another_size_than_the_text_encoders_is_refused(
    files: Path, more: dict[str, object]
) -> None:
    change(files / "checkpoint/tokenizer/vocab.json", **more)
    with pytest.raises(WeightsBad, match=r"does not number its \d+ tokens from 0 to 517"):
        load(files)


@pytest.mark.parametrize("content", [b"t h e\n", b"\xff\xff"])
def test_merges_that_are_no_pairs_of_tokens_are_refused(files: Path, content: bytes) -> None:
    (files / "checkpoint/tokenizer/merges.txt").write_bytes(content)
    with pytest.raises(WeightsBad, match=r"merges\.txt"):
        load(files)
