"""Prompts: their brackets, their chunks, and what the text encoder makes of them."""

import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from inference.creative.prompts import MAX_CHUNKS, Prompts, Weighted, parse, weighed
from inference.creative.vocabulary import load_tokenizer
from inference.errors import NotANumber, PromptUnreadable
from tests.inference.creative.tiny import WIDTH, tiny_text_encoder, vocabulary, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return load_tokenizer(folder, size=len(vocabulary()))


@pytest.fixture(scope="module")
def encoder() -> CLIPTextModel:
    """With a bias behind its last layer, so that its rows have a mean, as a trained one's have."""
    encoder = tiny_text_encoder()
    torch.nn.init.constant_(encoder.final_layer_norm.bias, -0.2)
    return encoder


@pytest.fixture(scope="module")
def prompts(tokenizer: CLIPTokenizer, encoder: CLIPTextModel) -> Prompts:
    return Prompts(tokenizer, encoder)


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("", []),
        ("a cat", [("a cat", 1)]),
        ("a (cat) here", [("a ", 1), ("cat", 1.1), (" here", 1)]),
        ("a [cat]", [("a ", 1), ("cat", 1 / 1.1)]),
        ("(cat:1.3)", [("cat", 1.3)]),
        ("(cat: .5 )", [("cat", 0.5)]),
        ("((cat))", [("cat", 1.21)]),
        ("(a (cat:2) b)", [("a ", 1.1), ("cat", 2.2), (" b", 1.1)]),
        ("(a [cat]:2)", [("a ", 2), ("cat", 2 / 1.1)]),
        ("(a)(cat)", [("acat", 1.1)]),
        ("()[]", []),
    ],
)
def test_brackets_weigh(prompt: str, parts: list[tuple[str, float]]) -> None:
    assert [part.text for part in parse(prompt)] == [text for text, _ in parts]
    assert [part.weight for part in parse(prompt)] == pytest.approx([at for _, at in parts])


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (r"a \(cat\) \[the\]", "a (cat) [the]"),
        (r"a\\b", r"a\b"),
        (r"a\b", r"a\b"),
        ("a) b] c:1.3)", "a) b] c:1.3)"),
        ("ratio 3:2", "ratio 3:2"),
    ],
)
def test_what_is_no_syntax_is_plain_text(prompt: str, text: str) -> None:
    assert parse(prompt) == (Weighted(text, 1.0),)


def test_an_escaped_bracket_weighs_as_what_is_around_it() -> None:
    assert parse(r"(a\):1.5)") == (Weighted("a)", 1.5),)


def test_an_open_bracket_closes_at_the_end() -> None:
    assert parse("a (cat") == (Weighted("a ", 1.0), Weighted("cat", 1.1))


def test_a_bracket_is_not_closed_by_another_kind() -> None:
    assert parse("[a) b] c") == (Weighted("a) b", 1 / 1.1), Weighted(" c", 1.0))


def test_square_brackets_take_no_number() -> None:
    assert parse("[cat:1.3]") == (Weighted("cat:1.3", 1 / 1.1),)


@pytest.mark.parametrize(
    ("prompt", "weight"),
    [
        ("(cat:99)", 5.0),
        ("(cat:0)", 0.1),
        ("(cat:-2)", 0.1),
        (f"(cat:{'9' * 400})", 5.0),
        ("(" * 1000 + "cat" + ":5)" * 1000, 5.0),
        ("(" * 1000 + "cat" + ":0)" * 1000, 0.1),
    ],
)
def test_weights_stay_within_bounds(prompt: str, weight: float) -> None:
    assert parse(prompt) == (Weighted("cat", weight),)


def test_each_number_is_bounded_before_it_multiplies() -> None:
    (part,) = parse(f"((cat:0):{'9' * 400})")
    assert part.weight == pytest.approx(0.1 * 5.0)


@given(st.text() | st.text(alphabet="ab,()[]:1.3-\\ "))
def test_every_text_has_sane_parts(prompt: str) -> None:
    for before, after in zip(parse(prompt), parse(prompt)[1:], strict=False):
        assert before.weight != after.weight
    for part in parse(prompt):
        assert part.text
        assert math.isfinite(part.weight)
        assert part.weight > 0


@given(st.text() | st.text(alphabet="ab,()[]:1.3-\\ "))
def test_nothing_but_syntax_is_lost(prompt: str) -> None:
    def bare(text: str) -> str:
        return re.sub(r"[()\[\]\\:0-9.+\-\s]", "", text)

    assert bare("".join(part.text for part in parse(prompt))) == bare(prompt)


@given(st.text())
def test_escaped_text_comes_back_whole(text: str) -> None:
    escaped = re.sub(r"([\\()\[\]])", r"\\\1", text)
    assert "".join(part.text for part in parse(escaped)) == text
    assert {part.weight for part in parse(escaped)} <= {1.0}


@torch.inference_mode()
def plainly(encoder: CLIPTextModel, *chunks: list[int]) -> Tensor:
    """(1, 77 * chunks, width): each chunk of tokens through the text encoder by itself."""
    begin, end = len(vocabulary()) - 2, len(vocabulary()) - 1
    rows = [
        encoder(torch.tensor([[begin, *chunk, *[end] * (76 - len(chunk))]])).last_hidden_state
        for chunk in chunks
    ]
    return torch.cat(rows, dim=1)


def tokens(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return found


def test_plain_prompts_are_what_the_text_encoder_says(
    prompts: Prompts, tokenizer: CLIPTokenizer, encoder: CLIPTextModel
) -> None:
    made = prompts.embedded("the cat", "a dog, the fog")
    assert made.shape == (2, 77, WIDTH)
    texts = ("a dog, the fog", "the cat")
    expected = [plainly(encoder, tokens(tokenizer, text)) for text in texts]
    torch.testing.assert_close(made, torch.cat(expected))


def test_nothing_said_is_an_empty_chunk(prompts: Prompts, encoder: CLIPTextModel) -> None:
    torch.testing.assert_close(prompts.embedded("", " "), plainly(encoder, []).repeat(2, 1, 1))


def test_200_words_make_three_chunks(prompts: Prompts, encoder: CLIPTextModel) -> None:
    the = vocabulary()["the</w>"]
    made = prompts.embedded("the " * 200, "")
    assert made.shape == (2, 3 * 77, WIDTH)
    torch.testing.assert_close(made[1:], plainly(encoder, [the] * 75, [the] * 75, [the] * 50))


def test_the_shorter_one_is_padded_with_empty_chunks(
    prompts: Prompts, encoder: CLIPTextModel
) -> None:
    the = vocabulary()["the</w>"]
    made = prompts.embedded("the", "the " * 76)
    torch.testing.assert_close(made[:1], plainly(encoder, [the] * 75, [the]))
    torch.testing.assert_close(made[1:], plainly(encoder, [the], []))


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [
        (69, 10, 70),  # the comma is the 70th
        (54, 30, 55),  # as far from the end as a phrase is still moved
        (53, 30, 75),  # too far: the phrase is cut
        (74, 10, 75),  # the comma is the chunk's last
        (100, 10, 75),
    ],
)
def test_a_phrase_near_the_end_moves_whole(
    prompts: Prompts, encoder: CLIPTextModel, before: int, after: int, first: int
) -> None:
    the, comma = vocabulary()["the</w>"], vocabulary()[",</w>"]
    all_of_them = [*[the] * before, comma, *[the] * after]
    made = prompts.embedded("the " * before + "," + " the" * after, "")
    torch.testing.assert_close(made[1:], plainly(encoder, all_of_them[:first], all_of_them[first:]))


def test_a_phrase_that_fits_without_its_comma_stays(
    prompts: Prompts, encoder: CLIPTextModel
) -> None:
    the, comma = vocabulary()["the</w>"], vocabulary()[",</w>"]
    first = [*[the] * 60, comma, *[the] * 14]
    made = prompts.embedded("the " * 60 + "," + " the" * 14 + ", the", "")
    torch.testing.assert_close(made[1:], plainly(encoder, first, [comma, the]))


def test_a_weighted_word_changes_its_own_row_most(prompts: Prompts) -> None:
    usual = prompts.embedded("the cat the", "")
    made = prompts.embedded("the (cat:2) the", "")
    changed = (made - usual)[1].norm(dim=-1) / usual[1].norm(dim=-1)
    assert changed.argmax() == 2
    assert changed[2] > 10 * changed[[1, 3]].max()
    torch.testing.assert_close(made[0], usual[0])


def test_a_weighted_prompt_is_its_rows_times_their_weights(prompts: Prompts) -> None:
    usual = prompts.embedded("the cat the", "")[1]
    made = prompts.embedded("the (cat:1.5) [the]", "")[1]
    times = torch.ones(77)
    times[2], times[3] = 1.5, 1 / 1.1
    heavy = usual * times[:, None]
    torch.testing.assert_close(made, heavy * usual.mean() / heavy.mean())


@pytest.mark.parametrize("prompt", ["(the:3) cat", "[[the cat]]", f"({'the ' * 70}:0.1)"])
def test_the_mean_is_restored(prompts: Prompts, prompt: str) -> None:
    plain = "".join(part.text for part in parse(prompt))
    usual, made = prompts.embedded(plain, "")[1], prompts.embedded(prompt, "")[1]
    assert not torch.allclose(made, usual, atol=1e-2)
    assert float(made.mean()) == pytest.approx(float(usual.mean()), rel=1e-5)


def test_each_chunk_keeps_its_own_mean(prompts: Prompts) -> None:
    usual = prompts.embedded("the " * 75 + "cat " * 9, "")[1]
    made = prompts.embedded("the " * 75 + f"({'cat ' * 9}:2)", "")[1]
    torch.testing.assert_close(made[:77], usual[:77])
    assert float(made[77:].mean()) == pytest.approx(float(usual[77:].mean()), rel=1e-5)


@pytest.mark.parametrize(
    "rows",
    [
        torch.tensor([[[1.0, -1.0], [2.0, -2.0]]]),  # no mean at all
        torch.tensor([[[1.0, -1.0], [2.0, -2.00001]]]),  # a mean that is rounding
        torch.tensor([[[4.0, 4.0], [-3.0, -3.0]]]),  # a mean that turns over
    ],
)
def test_a_mean_that_says_nothing_is_not_restored(rows: Tensor) -> None:
    weights = torch.tensor([[1.0, 2.0]])
    torch.testing.assert_close(weighed(rows, weights), rows * weights[..., None])


def test_the_dtype_is_the_text_encoders(tokenizer: CLIPTokenizer) -> None:
    encoder = tiny_text_encoder().to(torch.bfloat16)
    made = Prompts(tokenizer, encoder).embedded("the (cat:1.3)", "")
    assert made.dtype == torch.bfloat16


@pytest.mark.parametrize("which", ["prompt", "negative"])
def test_half_a_surrogate_pair_is_unreadable(prompts: Prompts, which: str) -> None:
    both = {"prompt": "", "negative": "", which: "a \ud83d cat"}
    with pytest.raises(PromptUnreadable, match="cannot be turned into tokens"):
        prompts.embedded(**both)


def test_the_longest_prompt_is_read(prompts: Prompts) -> None:
    assert prompts.embedded("the " * 75 * MAX_CHUNKS, "").shape == (2, 77 * MAX_CHUNKS, WIDTH)


def test_one_word_more_is_refused(prompts: Prompts) -> None:
    with pytest.raises(PromptUnreadable, match="too long"):
        prompts.embedded("the " * (75 * MAX_CHUNKS + 1), "")


def test_2000_characters_fit_whatever_their_phrases(prompts: Prompts) -> None:
    words = ("q" * 54 + ",") * 37  # a chunk holds one phrase and would cut the second
    assert prompts.embedded(words[:2000], "").shape == (2, 77 * 36, WIDTH)


def test_values_that_are_no_numbers_are_refused(tokenizer: CLIPTokenizer) -> None:
    encoder = tiny_text_encoder()
    encoder.final_layer_norm.bias[0] = math.nan
    with pytest.raises(NotANumber, match="text encoder"):
        Prompts(tokenizer, encoder).embedded("the cat", "")
