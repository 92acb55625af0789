"""What the networks attend to: prompts of any length, their weights in brackets.

The rules are the ones that users of Stable Diffusion know: brackets weigh words, and a prompt that
is longer than the text encoder reads goes through it in chunks.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from inference.errors import NotANumber, PromptUnreadable

CHUNK = 75
"""Tokens of a prompt that the text encoder reads at once, between one that begins and one that
ends."""

MAX_CHUNKS = 40
"""Enough for 2,000 characters of one token each, whatever their phrases."""

LONGEST_MOVED = 20
"""Tokens that a phrase may have before the end of a chunk and still be moved whole to the next."""

BRACKET = 1.1
"""What round brackets multiply by, and square ones divide by."""

LIGHTEST, HEAVIEST = 0.1, 5.0
"""The weights that words can have; the rest is cut off."""

MEAN_NOISE = 1e-4
"""A mean below this share of the values' mean size is rounding: there is nothing to restore."""


class Weighted(NamedTuple):
    """A part of a prompt, without the brackets' syntax, and its weight: finite and positive."""

    text: str
    weight: float


class Prompts:
    """Makes of prompts what the networks attend to; on the text encoder's device, in its dtype."""

    def __init__(self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> None:
        self._tokenizer = tokenizer
        self._encoder = text_encoder
        self._begin, self._end = tokenizer.bos_token_id, tokenizer.eos_token_id
        self._comma = tokenizer.convert_tokens_to_ids(",</w>")

    @torch.inference_mode()
    def embedded(self, prompt: str, negative: str) -> Tensor:
        """(2, 77 * k, width): the negative one first.

        Both have the k chunks of 75 tokens that the longer one needs; each is read by itself, by
        all of the text encoder's layers, and weighs as `weighed` has it. Raises `PromptUnreadable`
        for words without tokens or too many of them, and `NotANumber`.
        """
        both = [self._chunks(negative), self._chunks(prompt)]
        count = max(map(len, both))
        chunks = [chunk for one in both for chunk in (*one, *([()] * (count - len(one))))]
        device = self._encoder.device
        ids = torch.tensor([self._framed(chunk) for chunk in chunks], device=device)
        weights = torch.tensor([_weights(chunk) for chunk in chunks], device=device)
        rows = weighed(self._encoder(input_ids=ids).last_hidden_state, weights)
        if not bool(rows.isfinite().all()):
            raise NotANumber("The text encoder gave values that are not numbers")
        return rows.view(2, -1, rows.shape[-1])

    def _chunks(self, prompt: str) -> list[Sequence["_Token"]]:
        """At most `MAX_CHUNKS`, at least one; cut behind a comma where one is near."""
        tokens = self._tokens(prompt)
        chunks: list[Sequence[_Token]] = []
        while len(tokens) > CHUNK and len(chunks) < MAX_CHUNKS:
            cut = self._cut(tokens)
            chunks.append(tokens[:cut])
            tokens = tokens[cut:]
        chunks.append(tokens)
        if len(chunks) > MAX_CHUNKS:
            raise PromptUnreadable(
                f"The prompt is too long: more than {MAX_CHUNKS} chunks of {CHUNK} tokens"
            )
        return chunks

    def _tokens(self, prompt: str) -> list["_Token"]:
        parts = parse(prompt)
        if not parts:
            return []
        try:
            found = self._tokenizer([part.text for part in parts], add_special_tokens=False)
        except Exception as error:  # a TypeError for half a surrogate pair, bare ones for the rest
            raise PromptUnreadable from error
        return [
            _Token(number, part.weight)
            for part, numbers in zip(parts, found.input_ids, strict=True)
            for number in numbers
        ]

    def _cut(self, tokens: Sequence["_Token"]) -> int:
        """How many of the tokens, more than a chunk, the first chunk takes."""
        if tokens[CHUNK].number == self._comma:
            return CHUNK  # the phrase ends where the chunk does
        for cut in range(CHUNK, CHUNK - LONGEST_MOVED - 1, -1):
            if tokens[cut - 1].number == self._comma:
                return cut
        return CHUNK

    def _framed(self, chunk: Sequence["_Token"]) -> list[int]:
        padding = [self._end] * (CHUNK - len(chunk))
        return [self._begin, *(token.number for token in chunk), *padding, self._end]


def weighed(rows: Tensor, weights: Tensor) -> Tensor:
    """The text encoder's rows (chunks, tokens, width) times their weights (chunks, tokens).

    Each chunk is then scaled to the mean that it had, so that heavy words do not make the whole of
    it louder; unless that mean is nothing but rounding, or the weights turn it over.
    """
    plain = rows.float()
    heavy = plain * weights[..., None]
    before, after = (each.mean(dim=(1, 2), keepdim=True) for each in (plain, heavy))
    scale = before / after
    size = plain.abs().mean(dim=(1, 2), keepdim=True)
    # Rows whose means have one sign have together a mean that moves no further than the weights.
    possible = (scale > 1 / HEAVIEST) & (scale < 1 / LIGHTEST)
    scale = torch.where(possible & (before.abs() > MEAN_NOISE * size), scale, 1.0)
    return (heavy * scale).to(rows.dtype)


def parse(prompt: str) -> tuple[Weighted, ...]:
    r"""The parts of a prompt that differ in weight from their neighbours, none of them empty.

    `(word)` weighs 1.1 times as much, `[word]` 1/1.1 times, `(word:1.3)` 1.3 times, and nested
    ones multiply, within `LIGHTEST` and `HEAVIEST`. `\(` is a bracket and `\\` a backslash. What
    is left open closes at the end; what closes nothing, or another bracket than the last one that
    is open, is plain text.
    """
    pieces = (piece for piece in _pieces(prompt) if piece.text)
    return tuple(
        Weighted("".join(piece.text for piece in equal), weight)
        for weight, equal in itertools.groupby(pieces, key=lambda piece: piece.weight)
    )


class _Token(NamedTuple):
    number: int
    weight: float


class _Span(NamedTuple):
    """Where a bracket closes, as a mark's number, and what it multiplies by."""

    end: int
    factor: float


_MARKS = re.compile(
    r"""\\[\\()\[\]] | [()\[\]] | :\s*(?P<factor>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*\)""",
    re.VERBOSE,
)
"""Escaped characters, brackets, and a weight with the bracket behind it."""


def _pieces(prompt: str) -> Iterator[Weighted]:
    """The text before, of and behind each mark; some is empty."""
    marks = list(_MARKS.finditer(prompt))
    spans = _spans(marks)
    weights, ends, read = [1.0], [len(marks)], 0
    for number, mark in enumerate(marks):
        yield Weighted(prompt[read : mark.start()], _within(weights[-1]))
        read = mark.end()
        if number in spans:
            weights.append(weights[-1] * spans[number].factor)
            ends.append(spans[number].end)
        elif number == ends[-1]:
            weights.pop()
            ends.pop()
        else:
            yield Weighted(mark[0].removeprefix("\\"), _within(weights[-1]))
    yield Weighted(prompt[read:], _within(weights[-1]))


def _spans(marks: Sequence[re.Match[str]]) -> dict[int, _Span]:
    """What each opening bracket does, by its mark's number."""
    spans, still_open = {}, []
    for number, mark in enumerate(marks):
        if mark[0] in ("(", "["):
            still_open.append(number)
            factor = BRACKET if mark[0] == "(" else 1 / BRACKET
            spans[number] = _Span(len(marks), factor)
        elif mark[0][0] != "\\" and still_open:
            opening = marks[still_open[-1]][0]
            if opening == ("[" if mark[0] == "]" else "("):
                opened = still_open.pop()
                said = mark["factor"]
                factor = _within(float(said)) if said else spans[opened].factor
                spans[opened] = _Span(number, factor)
    return spans


def _within(weight: float) -> float:
    return min(max(weight, LIGHTEST), HEAVIEST)


def _weights(chunk: Sequence[_Token]) -> list[float]:
    """A chunk's weights; what begins, ends and pads it is plain."""
    padding = [1.0] * (CHUNK + 1 - len(chunk))
    return [1.0, *(token.weight for token in chunk), *padding]
