from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
JSON_KEY_FIELD_NUMBER: _ClassVar[int]
json_key: _descriptor.FieldDescriptor
OMIT_EMPTY_FIELD_NUMBER: _ClassVar[int]
omit_empty: _descriptor.FieldDescriptor
INLINED_FIELD_NUMBER: _ClassVar[int]
inlined: _descriptor.FieldDescriptor
IN_OBJECT_FIELD_NUMBER: _ClassVar[int]
in_object: _descriptor.FieldDescriptor
