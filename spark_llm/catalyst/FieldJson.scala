package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.analysis.TypeCheckResult.TypeCheckSuccess
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.types._

/**
 * A field as JSON text, made by Spark's own `to_json`, so that every type that has a JSON form (dates, decimals,
 * binary, maps, variants, nested structs) reaches the prompt as Spark users know it.
 */
object FieldJson {
  private val options = Map("ignoreNullFields" -> "true")

  private def json(value: Expression, timeZone: Option[String]): StructsToJson =
    StructsToJson(options, CreateNamedStruct(Seq(Literal("v"), value)), timeZone)

  /** Fails at analysis for a type that has no JSON form. */
  def check(name: String, value: Expression): Unit =
    if (value.resolved && (oddKeys(value.dataType) ||
        json(value, Some("UTC")).checkInputDataTypes() != TypeCheckSuccess)) {
      throw LLMErrors.invalidField(name, value.dataType.sql)
    }

  // to_json writes such keys as memory addresses or internal numbers
  private def oddKeys(t: DataType): Boolean = t.existsRecursively {
    case MapType(_: StringType | _: NumericType | BooleanType | NullType, _, _) => false
    case _: MapType => true
    case _ => false
  }

  /** All fields of a call as one JSON object, as text. */
  def all(call: LLMCall, timeZone: String): Expression =
    plain(StructsToJson(options, CreateNamedStruct(
      call.fieldNames.zip(call.fields).flatMap { case (n, f) => Seq(Literal(n), f) }), Some(timeZone)))

  /** `{"v":VALUE}`, or `{}` for NULL: the worker cuts VALUE out. */
  def encode(value: Expression, timeZone: String): Expression = plain(json(value, Some(timeZone)))

  private def plain(e: Expression): Expression = e match {
    case r: RuntimeReplaceable => r.replacement
    case e => e
  }
}
