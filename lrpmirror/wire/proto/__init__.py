"""The messages of a BBS: those of the `.proto` files here, as protoc has described them in `descriptors.binpb`.

Each `_pb2` module has the messages of one file; its stub is protoc's too.
"""

from importlib.resources import files
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor

_POOL: Final = descriptor_pool.Default()

for _file in descriptor_pb2.FileDescriptorSet.FromString(
    files(__name__).joinpath("descriptors.binpb").read_bytes()
).file:
    _POOL.AddSerializedFile(_file.SerializeToString())


def define(proto: str, names: dict[str, Any]) -> FileDescriptor:
    """Add the messages and extensions of a `.proto` file to the names of its module; return its description."""
    file: FileDescriptor = _POOL.FindFileByName(f"lrpmirror/wire/proto/{proto}")
    for name, message in file.message_types_by_name.items():
        names[name] = message_factory.GetMessageClass(message)
        names[name].__module__ = names["__name__"]
    names.update(file.extensions_by_name)
    return file
