"""The layers: a module imports only what stands above it, and everything public is documented."""

import ast
import importlib
import inspect
from functools import cache
from pathlib import Path

import pytest

import lrpmirror

PACKAGE = Path(lrpmirror.__file__).parent

LAYERS = [
    {"enums", "frozen"},
    {"detail"},
    {"model"},
    {"events"},
    {"errors"},
    {"forks", "redaction"},
    {"wire"},
    {"core"},
    {"views"},
    {"background"},
    {"statefile"},
    {"client"},
    {"relay"},
    {"mirror"},
    {"thread"},
    {"recording"},
    {"server"},
    {"sim"},
    {"serve"},
    {"cli"},
]
"""Top to bottom: each imports from itself and from what stands above it."""

ROOMS = ["rows", "freshness", "derived", "lists", "explain"]
"""The rooms of `core`, in the order in which data passes through them: each imports from itself and from those before
it. What is in none of them stands above them all."""

NOT_ABOVE = {"sim": {"core", "client", "mirror"}, "wire": set(), "core": {"wire"}}
"""What a layer does without although it stands above: the simulation shares the vocabulary, not the reasoning."""

EFFECTS = {"trio", "httpx", "time", "socket", "logging"}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.stem.endswith("_pb2"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str | None:
    """The part of the package that a module belongs to; None for the package itself and for others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "lrpmirror" and len(parts) > 1 else None


@cache
def statements_of(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Every import of a file, wherever in it."""
    tree = ast.parse(path.read_text(), str(path))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in statements_of(path):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        else:
            assert node.level == 0, f"{path}: imports are absolute"
            base = node.module or ""
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names if base == "lrpmirror")
    return found


def room_of(module: str) -> int | None:
    """The number of the room of `core` that a module belongs to; None for what is outside of it."""
    parts = module.split(".")
    if parts[:2] != ["lrpmirror", "core"]:
        return None
    return ROOMS.index(parts[2]) if len(parts) > 2 and parts[2] in ROOMS else len(ROOMS)


def _is_module(layer: str) -> bool:
    return (PACKAGE / layer).exists() or (PACKAGE / f"{layer}.py").exists()


def depth(layer: str) -> int:
    return next(n for n, names in enumerate(LAYERS) if layer in names)


def modules_of(*layers: str) -> list[Path]:
    return [path for path in MODULES if layer_of(name_of(path)) in layers]


ids = pytest.mark.parametrize("path", [path for path in MODULES if layer_of(name_of(path))], ids=name_of)


@ids
def test_a_module_belongs_to_a_layer(path: Path) -> None:
    assert layer_of(name_of(path)) in set().union(*LAYERS) | {"__main__", "_version"}


@ids
def test_a_module_imports_only_what_stands_above_it(path: Path) -> None:
    own = layer_of(name_of(path))
    assert own is not None
    if own == "__main__":
        pytest.skip("the entry point imports the command line only")
    for module in imports_of(path):
        other = layer_of(module)
        if other is None or not _is_module(other):
            continue
        assert other == own or depth(other) < depth(own), f"{own} imports {module}, which stands below it"
        assert other not in NOT_ABOVE.get(own, set()), f"{own} does without {other}"


@pytest.mark.parametrize("path", modules_of("core"), ids=name_of)
def test_a_room_of_core_imports_only_from_those_before_it(path: Path) -> None:
    own = room_of(name_of(path))
    for module in imports_of(path):
        other = room_of(module)
        assert own is None or other is None or other <= own, f"{name_of(path)} imports {module}, which is above it"


def test_every_room_of_core_says_what_comes_in_and_what_goes_out() -> None:
    rooms = {path.name for path in (PACKAGE / "core").iterdir() if (path / "__init__.py").exists()}

    assert rooms == set(ROOMS)
    for room in ROOMS:
        doc = importlib.import_module(f"lrpmirror.core.{room}").__doc__ or ""
        assert "In: " in doc
        assert "Out: " in doc


@pytest.mark.parametrize("path", modules_of("wire", "core", "model", "detail", "events", "errors"), ids=name_of)
def test_wire_and_core_have_no_effects(path: Path) -> None:
    roots = {module.split(".")[0] for module in imports_of(path)}

    assert not roots & EFFECTS


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_but_the_package_imports_the_package_itself(path: Path) -> None:
    from_package = [
        alias.name
        for node in statements_of(path)
        if isinstance(node, ast.ImportFrom) and node.module == "lrpmirror"
        for alias in node.names
        if not _is_module(alias.name)
    ]

    assert name_of(path) == "lrpmirror" or layer_of(name_of(path)) == "cli" or not from_package


def test_the_public_names_are_those_of_all() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    bound = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert sorted(lrpmirror.__all__) == sorted(bound), "what is imported there is public"
    assert all(hasattr(lrpmirror, name) for name in lrpmirror.__all__)


@pytest.mark.parametrize("name", lrpmirror.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    thing = getattr(lrpmirror, name)

    assert inspect.getdoc(thing), f"lrpmirror.{name} has no docstring"


def documented(path: Path) -> list[str]:
    """What a module has without a docstring: functions and classes with a public name, and their public methods."""
    module = importlib.import_module(name_of(path))
    missing = []
    for name, thing in vars(module).items():
        if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if thing.__module__ != module.__name__:
            continue
        if not thing.__doc__:
            missing.append(name)
        if inspect.isclass(thing):
            missing += [
                f"{name}.{attribute}"
                for attribute, member in vars(thing).items()
                if not attribute.startswith("_") and _is_code(member) and not _doc_of(member)
            ]
    return missing


def _is_code(member: object) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)


def _doc_of(member: object) -> str | None:
    return member.__doc__ if not isinstance(member, classmethod | staticmethod) else member.__func__.__doc__


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_a_module_exports_is_there_and_documented(path: Path) -> None:
    module = importlib.import_module(name_of(path))

    assert module.__doc__, f"{name_of(path)} has no docstring"
    assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))
    assert documented(path) == []


def test_no_file_is_much_longer_than_four_hundred_lines() -> None:
    files = [*MODULES, *Path(__file__).parent.rglob("*.py")]
    long = {path.name: lines for path in files if (lines := len(path.read_text().splitlines())) > 450}

    assert not long
