"""The generated protobuf modules are what protoc makes of the .proto files beside them."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROTOS = sorted((ROOT / "lrpmirror" / "wire" / "proto").glob("*.proto"))
REGENERATE = (
    "generate it again, in the project's folder: python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. "
    "lrpmirror/wire/proto/*.proto"
)


def descriptor_in(source: str) -> bytes:
    """The serialized file descriptor that a generated module holds, without loading it beside the other."""
    found = re.search(r"AddSerializedFile\((b'.*')\)", source)
    assert found is not None
    descriptor: bytes = ast.literal_eval(found[1])
    return descriptor


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.name)
def test_the_generated_module_is_of_the_proto_file_as_it_is(proto: Path, tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    name = proto.relative_to(ROOT).as_posix()
    include = Path(protoc.__file__).parent / "_proto"
    assert protoc.main(["protoc", f"-I{ROOT}", f"-I{include}", f"--python_out={tmp_path}", name]) == 0
    module = name.removesuffix(".proto") + "_pb2"
    found = import_module(module.replace("/", ".")).DESCRIPTOR.serialized_pb
    wanted = descriptor_in((tmp_path / f"{module}.py").read_text())
    assert found == wanted, f"{proto.stem}_pb2.py is not of {proto.name}: {REGENERATE}"


def test_there_are_protos() -> None:
    assert [path.stem for path in PROTOS] == ["diego", "events", "hot", "options", "requests"]
