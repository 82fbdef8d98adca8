package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.types._
import org.apache.spark.unsafe.types.UTF8String

/**
 * What a row gets from its call:
 * {{{
 *   value                                                                     by default
 *   STRUCT<value, error>                                                      on_error => 'struct'
 *   STRUCT<value, provenance>                                                 provenance => true
 *   STRUCT<value, error, provenance>                                          both
 *     error: STRUCT<condition, message>
 *     provenance: STRUCT<prompt_hash, model, revision, source, reasoning>     source: engine, dedup or cache;
 *                                                                             reasoning: the mode that answered
 * }}}
 *
 * @param model None without provenance
 */
class Outcome(withError: Boolean, model: Option[ModelIdentity]) extends Serializable {
  @transient private lazy val name = model.map(m => UTF8String.fromString(m.model)).orNull
  @transient private lazy val revision =
    model.filter(_.revision.nonEmpty).map(m => UTF8String.fromString(m.revision)).orNull

  /** One column: the row's outcome. */
  def apply(
      value: Any,
      error: InternalRow,
      promptHash: UTF8String,
      source: String,
      mode: UTF8String = null): InternalRow =
    if (!withError && model.isEmpty) InternalRow(value)
    else {
      val from = model.map { _ =>
        if (source == null) null else InternalRow(promptHash, name, revision, UTF8String.fromString(source), mode)
      }
      InternalRow(InternalRow.fromSeq(Seq(value) ++ Option.when(withError)(error) ++ from))
    }
}

object Outcome {
  val Engine = "engine"
  val Dedup = "dedup"
  val Cache = "cache"

  private val error = new StructType().add("condition", StringType).add("message", StringType)
  private val provenance = new StructType()
    .add("prompt_hash", StringType).add("model", StringType).add("revision", StringType).add("source", StringType)
    .add("reasoning", StringType)

  def dataType(options: LLMOptions): DataType = {
    val more = Option.when(options.onError == LLMOptions.Struct)(StructField("error", error)) ++
      Option.when(options.provenance)(StructField("provenance", provenance))
    if (more.isEmpty) options.returnType else StructType(StructField("value", options.returnType) +: more.toSeq)
  }
}
