"""A value of a message in which every field is given and none has its default."""

from typing import Any

import msgspec
from msgspec import inspect

_MESSAGES = inspect.StructType | inspect.DataclassType | inspect.NamedTupleType


def filled(message: type) -> Any:
    """Returns an instance of a message; fails where a field would have its default all the same."""
    told = _fields(inspect.type_info(message))
    made = message(**told)
    for name, default in _defaults(message).items():
        assert getattr(made, name) != default, f"{message.__name__}.{name} has its default {default!r}"
    return made


def _fields(info: inspect.Type) -> dict[str, Any]:
    assert isinstance(info, _MESSAGES), f"no message: {info}"
    return {field.name: _value(field.type, field.default) for field in info.fields}


def _defaults(message: type) -> dict[str, Any]:
    info = inspect.type_info(message)
    assert isinstance(info, _MESSAGES), f"no message: {info}"
    return {field.name: field.default for field in info.fields if field.default is not msgspec.NODEFAULT}


_PLAIN: dict[type[inspect.Type], object] = {
    inspect.IntType: 7,
    inspect.FloatType: 0.5,
    inspect.StrType: "word",
    inspect.RawType: msgspec.Raw(b"{}"),
}


def _value(info: inspect.Type, default: object) -> Any:
    """Returns a value of a type that is not the default."""
    if type(info) in _PLAIN:
        return _PLAIN[type(info)]
    if isinstance(info, inspect.BoolType):
        return default is False
    if isinstance(info, inspect.EnumType):
        return next(member for member in info.cls if member is not default)
    if isinstance(info, _MESSAGES):
        return filled(info.cls)
    if isinstance(info, inspect.NamedTupleType):
        return info.cls(*[_value(one.type, None) for one in info.fields])
    return _value_of_parts(info, default)


def _value_of_parts(info: inspect.Type, default: object) -> Any:
    """Returns a value of a type that is made of others."""
    match info:
        case inspect.Metadata():
            return _value(info.type, default)
        case inspect.UnionType():
            return _value(next(one for one in info.types if not isinstance(one, inspect.NoneType)), default)
        case inspect.ListType():
            return [_value(info.item_type, None)]
        case inspect.TupleType() | inspect.VarTupleType():
            items = info.item_types if isinstance(info, inspect.TupleType) else (info.item_type,)
            return tuple(_value(one, None) for one in items)
        case inspect.DictType():
            return {_value(info.key_type, None): _value(info.value_type, None)}
        case inspect.AnyType():
            return {"event_id": "e", "kind": "click", "item_id": "i", "timestamp": 1}  # rows of events alone
    raise AssertionError(f"no value is known for {info}")
