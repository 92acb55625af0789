"""What the images of the Modal app hold: our code with its data, and every library it imports."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import deployment

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "diffusers", "transformers", "boto3", "psycopg", "fastapi")
SUITES = ROOT / "storage" / "contract"
"""Operators run these suites on machines of theirs, never on Modal."""

AS_IN_A_CONTAINER = (
    "from modal._runtime.task_lifecycle_manager import _TaskLifecycleManager\n"
    "_TaskLifecycleManager._singleton = object()"
)
"""How modal itself knows where it is."""

WEB_MODULES = (
    "handlers.app, handlers.wiring, handlers.weights, jobs.spawning, jobs.services, "
    "storage.opening, inference.published"
)


def run(program: str, *, folder: Path, **environment: str) -> str:
    """What a Python of its own prints, with nothing of ours on its path but `folder`."""
    environment |= {"PYTHONPATH": str(folder), "MODAL_CONFIG_PATH": os.devnull}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with exactly the files that Modal would mount, and no `pyproject.toml`."""
    folder = tmp_path_factory.mktemp("root")
    for source, place in files_to_mount():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    return folder


def files_to_mount() -> list[tuple[Path, str]]:
    """By modal's own rules. Its mount is private, and the one way to ask; modal is pinned."""
    program = (
        "import modal_app; from modal._utils.async_utils import synchronizer\n"
        "image = synchronizer._translate_in(modal_app.gpu_image)\n"
        "mount = image._deps()[-1]\n"
        "for entry in mount._entries:\n"
        "    for source, place in entry.get_files_to_upload(): print(source, place, sep='|')"
    )
    lines = run(program, folder=ROOT).splitlines()
    pairs = (line.split("|") for line in lines)
    return [(Path(source), place.removeprefix("/root/")) for source, place in pairs]


def test_the_app_is_imported_without_what_is_heavy() -> None:
    program = f"import sys, modal_app; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(program, folder=ROOT).strip() == "[]"


def test_every_package_of_ours_is_mounted() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setuptools = pyproject["tool"]["setuptools"]
    packages = {name.partition(".")[0] for name in setuptools["packages"]}
    modules = set(setuptools["py-modules"]) - {"local_app"}
    assert set(deployment.LOCAL_PACKAGES) == packages | modules


def test_the_networks_and_tables_that_ship_with_the_code_are_mounted(mounted: Path) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    data = pyproject["tool"]["setuptools"]["package-data"]
    files = [
        path.relative_to(ROOT)
        for package, patterns in data.items()
        for pattern in patterns
        for path in (ROOT / package).glob(pattern)
    ]
    assert len(files) > 4
    assert [path for path in files if not (mounted / path).is_file()] == []
    assert not list(mounted.rglob("__pycache__"))


def test_what_is_mounted_starts_both_kinds_of_containers(mounted: Path) -> None:
    program = (
        f"{AS_IN_A_CONTAINER}\n"
        "import sys, modal, modal_app, handlers.app, handlers.weights\n"
        "import inference.engine, inference.creation, inference.creative.pipeline\n"
        "from inference.catalogue import installed_models\n"
        "from pathlib import Path\n"
        "assert not modal.is_local()\n"
        f"names = [n for n in sys.modules if n.split('.')[0] in {deployment.LOCAL_PACKAGES}]\n"
        "ours = [sys.modules[name] for name in names]\n"
        "assert all(Path(m.__file__).is_relative_to(Path.cwd()) for m in ours)\n"
        "print(len(ours) > 50, sorted(installed_models()))"
    )
    said = run(program, folder=mounted, MODAL_IS_REMOTE="1")
    assert said.strip() == "True ['topaz-image-upscale']"


def test_what_comes_before_the_snapshot_loads_the_code_and_asks_for_no_card() -> None:
    program = (
        "import sys, torch\n"
        "def refuse(*_, **__): raise AssertionError('a card was asked for')\n"
        "for name in ('is_available', 'device_count', 'init', '_lazy_init', 'current_device'):\n"
        "    setattr(torch.cuda, name, refuse)\n"
        "import modal_app\n"
        "from modal._partial_function import _find_callables_for_obj, _PartialFunctionFlags\n"
        "worker = modal_app.Creative()._cached_user_cls_instance()\n"
        "before = _find_callables_for_obj(worker, _PartialFunctionFlags.ENTER_PRE_SNAPSHOT)\n"
        "for each in before.values(): each()\n"
        "wanted = ('inference.engine', 'inference.creative.pipeline', 'transformers')\n"
        "print(*before, all(name in sys.modules for name in wanted))"
    )
    assert run(program, folder=ROOT).strip() == "load_code load_diffusion_code True"


def test_the_gpu_image_has_every_library_that_our_code_imports() -> None:
    modules = [path for path in our_files() if not path.is_relative_to(SUITES)]
    missing = libraries(modules) - installed(deployment.GPU_EXTRAS)
    assert missing == set()


def test_the_web_image_has_every_library_that_it_imports() -> None:
    program = (
        f"import sys, {WEB_MODULES}, modal_app\n"
        f"print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('inference')))"
    )
    loaded = [Path(name) for name in run(program, folder=ROOT).split()]
    others = [
        path
        for path in our_files()
        if not path.is_relative_to(ROOT / "inference") and not path.is_relative_to(SUITES)
    ]
    assert libraries([*loaded, *others]) - installed(deployment.WEB_EXTRAS) == set()


def our_files() -> Iterator[Path]:
    """Every module that is mounted."""
    for name in deployment.LOCAL_PACKAGES:
        yield from (ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / f"{name}.py"]


def libraries(modules: Iterable[Path]) -> set[str]:
    """The distributions of what modules import, wherever in the file."""
    distributions = packages_distributions()
    ours = {*deployment.LOCAL_PACKAGES, *sys.stdlib_module_names}
    names = {name for path in modules for name in imported(path)} - ours
    unknown = names - distributions.keys()
    assert unknown == set(), "not installed here, so nothing is known of them"
    return {canonicalize_name(distributions[name][0]) for name in names}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def installed(extras: Sequence[str]) -> set[str]:
    """What an image has: the distributions that it is given, and all that those require."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    waiting = [Requirement(each) for each in deployment.requirements(pyproject, extras=extras)]
    found: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        each = waiting.pop()
        key = (canonicalize_name(each.name), frozenset(each.extras))
        if key not in found:
            found.add(key)
            waiting.extend(required_by(each))
    return {name for name, _ in found}


def required_by(requirement: Requirement) -> Iterator[Requirement]:
    try:
        lines = requires(requirement.name) or []
    except PackageNotFoundError:  # for another platform, or of CUDA's
        return
    for line in lines:
        each = Requirement(line)
        wanted = [{"extra": extra} for extra in ("", *requirement.extras)]
        if each.marker is None or any(each.marker.evaluate(extra) for extra in wanted):
            yield each
