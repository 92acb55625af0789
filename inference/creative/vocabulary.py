"""The tokenizer, out of its two files, which must fit each other and know every byte."""

from collections.abc import Mapping
from pathlib import Path

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from inference.creative.tensors import read_json
from inference.errors import WeightsBad, WeightsMissing

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
"""What CLIP puts before and behind every text."""

_WORD_END = "</w>"


def load_tokenizer(folder: Path, *, size: int) -> CLIPTokenizer:
    """CLIP's tokenizer, for a text encoder that knows `size` tokens.

    The folder holds `vocab.json` and `merges.txt`; every text has tokens in it, and none of them
    is unknown. Raises `WeightsMissing`, or `WeightsBad` if the files are not such.
    """
    vocabulary = read_json(folder / "vocab.json")
    merges = _read_merges(folder / "merges.txt")
    if sorted(map(str, vocabulary.values())) != sorted(map(str, range(size))):
        raise WeightsBad(
            f"{folder / 'vocab.json'} does not number its {len(vocabulary)} tokens from 0 to "
            f"{size - 1}, as the text encoder does"
        )
    letters = bytes_to_unicode().values()
    needed = [BEGIN, END, *letters, *(letter + _WORD_END for letter in letters)]
    _refuse_unknown(needed, vocabulary, where=folder / "vocab.json")
    _refuse_unknown(["".join(pair) for pair in merges], vocabulary, where=folder / "merges.txt")
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


def _read_merges(file: Path) -> list[tuple[str, str]]:
    """The pairs of tokens that are joined, the most important first."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise WeightsMissing(f"{file} is missing") from error
    except UnicodeDecodeError as error:
        raise WeightsBad(f"{file} is not text") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        pair = line.split()
        if not pair or (number == 1 and line.startswith("#version")):
            continue
        if len(pair) != 2:
            raise WeightsBad(f"{file}: line {number} is no pair of tokens")
        merges.append((pair[0], pair[1]))
    return merges


def _refuse_unknown(tokens: list[str], vocabulary: Mapping[str, object], *, where: Path) -> None:
    unknown = [token for token in tokens if token not in vocabulary]
    if unknown:
        raise WeightsBad(f"{where}: the vocabulary lacks {len(unknown)} tokens: {unknown[0]!r}")
