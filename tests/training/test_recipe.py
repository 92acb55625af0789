"""The recipe: every network once, each after the one whose weights it starts with."""

from pathlib import Path

from safetensors import safe_open

from training.recipe import RUNS, arguments, command, main, weights_file


def test_every_network_is_made_once_and_after_its_start() -> None:
    names = [run.name for run in RUNS]
    assert len(set(names)) == len(names) == 8
    for number, run in enumerate(RUNS):
        assert run.start is None or run.start in names[:number]


def test_the_minutes_are_shared_out(tmp_path: Path) -> None:
    args = arguments(["--pictures", "p", "--out", str(tmp_path), "--minutes", "100"])
    minutes = [line[line.index("--minutes") + 1] for line in (command(run, args) for run in RUNS)]
    assert round(sum(map(float, minutes)), 6) == 100


def test_one_command_makes_them_all(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(["--pictures", str(folder), "--out", str(out), "--minutes", "0.01", "--credit", "drawn"])
    for run in RUNS:
        with safe_open(weights_file(out, run.name), framework="numpy") as file:
            about = file.metadata()
        assert (about["scale"], about["width"], about["kind"]) == (
            str(run.scale),
            run.width,
            run.kind,
        )
