package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.types._

/**
 * An answer as text and back, without loss for every type that an answer can have: CAST for single values, JSON for
 * nested ones, both in UTC and to the microsecond whatever the session's zone is.
 */
object AnswerText {
  private val Zone = Some("UTC")
  private val options = Map(
    "ignoreNullFields" -> "false",
    "dateFormat" -> "yyyy-MM-dd",
    "timestampFormat" -> "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat" -> "yyyy-MM-dd'T'HH:mm:ss.SSSSSS")

  def of(value: Expression): Expression = value.dataType match {
    case StringType => value
    case _: StructType | _: ArrayType | _: MapType => plain(StructsToJson(options, value, Zone))
    case _ => Cast(value, StringType, Zone, EvalMode.LEGACY)
  }

  /** NULL for text that is no value of the type. */
  def read(text: Expression, to: DataType): Expression = to match {
    case StringType => text
    case _: StructType | _: ArrayType | _: MapType => plain(JsonToStructs(to, options, text, Zone))
    case _ => Cast(text, to, Zone, EvalMode.TRY)
  }

  private def plain(e: Expression): Expression = e match {
    case r: RuntimeReplaceable => r.replacement
    case other => other
  }
}
