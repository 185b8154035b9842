"""The messages are those that protoc makes of the .proto files beside them."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "lrpmirror" / "wire" / "proto"
PROTOS = sorted(FOLDER.glob("*.proto"))
REGENERATE = (
    "make it again, in the project's folder: python -m grpc_tools.protoc -I . --pyi_out=. "
    "--descriptor_set_out=lrpmirror/wire/proto/descriptors.binpb lrpmirror/wire/proto/*.proto"
)


def test_the_descriptors_are_of_the_proto_files_as_they_are(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    include = Path(protoc.__file__).parent / "_proto"
    made = tmp_path / "descriptors.binpb"
    names = [path.relative_to(ROOT).as_posix() for path in PROTOS]
    assert protoc.main(["protoc", f"-I{ROOT}", f"-I{include}", f"--descriptor_set_out={made}", *names]) == 0
    found, wanted = (FileDescriptorSet.FromString(path.read_bytes()) for path in (FOLDER / made.name, made))
    for here, there in zip(found.file, wanted.file, strict=True):
        assert here == there, f"descriptors.binpb is not of {there.name}: {REGENERATE}"


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.name)
def test_a_module_has_the_names_of_its_stub(proto: Path) -> None:
    module = import_module(f"lrpmirror.wire.proto.{proto.stem}_pb2")
    stub = ast.parse(proto.with_name(f"{proto.stem}_pb2.pyi").read_text())
    fields = re.compile("[A-Z_]+_FIELD_NUMBER")
    declared = {node.name for node in stub.body if isinstance(node, ast.ClassDef)} | {
        node.target.id for node in stub.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }

    assert declared
    assert {name for name in declared if not fields.fullmatch(name)} <= vars(module).keys()


def test_there_are_protos() -> None:
    assert [path.stem for path in PROTOS] == ["diego", "events", "hot", "options", "requests"]
