package org.apache.spark.sql.llm

import scala.util.control.NonFatal

import org.apache.spark.sql.types._

/** `return_type => '<DDL>'`: which types an answer can have. */
object ReturnType {
  val allowed: String =
    "DDL of STRING, BOOLEAN, an integer or floating type, DECIMAL, DATE, TIMESTAMP, or an ARRAY, MAP<STRING, ...> or " +
      "STRUCT of these"

  def parse(ddl: String): DataType = {
    val parsed =
      try DataType.fromDDL(ddl)
      catch { case NonFatal(_) => throw LLMErrors.invalidOption("return_type", s"'$ddl'", allowed) }
    normalize(parsed).getOrElse(throw LLMErrors.invalidOption("return_type", s"'$ddl'", allowed))
  }

  private def normalize(t: DataType): Option[DataType] = t match {
    case _: CharType | _: VarcharType | _: StringType => Some(StringType)
    case BooleanType | ByteType | ShortType | IntegerType | LongType | FloatType | DoubleType => Some(t)
    case DateType | TimestampType | TimestampNTZType | _: DecimalType => Some(t)
    case ArrayType(element, nulls) => normalize(element).map(ArrayType(_, nulls))
    case MapType(_: StringType, value, nulls) => normalize(value).map(MapType(StringType, _, nulls))
    case StructType(fields) if fields.nonEmpty && fields.map(_.name).distinct.length == fields.length =>
      val types = fields.map(f => normalize(f.dataType).map(n => f.copy(dataType = n)))
      Option.when(types.forall(_.isDefined))(StructType(types.flatten))
    case _ => None
  }
}
