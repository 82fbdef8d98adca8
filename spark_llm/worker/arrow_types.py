"""Spark types as Arrow types. PySpark has this too, but its signature changes from release to release."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from pyspark.sql import types as t

_SCALARS: Final[dict[type[t.DataType], pa.DataType]] = {
    t.BooleanType: pa.bool_(),
    t.ByteType: pa.int8(),
    t.ShortType: pa.int16(),
    t.IntegerType: pa.int32(),
    t.LongType: pa.int64(),
    t.FloatType: pa.float32(),
    t.DoubleType: pa.float64(),
    t.DateType: pa.date32(),
    t.TimestampType: pa.timestamp("us", tz="UTC"),
    t.TimestampNTZType: pa.timestamp("us"),
}


def arrow_type(data_type: t.DataType) -> pa.DataType:
    """Returns the Arrow type that Spark reads as ``data_type``."""
    if isinstance(data_type, t.StringType):
        return pa.string()
    if isinstance(data_type, t.DecimalType):
        return pa.decimal128(data_type.precision, data_type.scale)
    if isinstance(data_type, t.ArrayType):
        return pa.list_(pa.field("element", arrow_type(data_type.elementType), data_type.containsNull))
    if isinstance(data_type, t.MapType):
        value = pa.field("value", arrow_type(data_type.valueType), data_type.valueContainsNull)
        return pa.map_(pa.field("key", arrow_type(data_type.keyType), nullable=False), value)
    if isinstance(data_type, t.StructType):
        return pa.struct([pa.field(f.name, arrow_type(f.dataType), f.nullable) for f in data_type.fields])
    return _SCALARS[type(data_type)]
