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
 * @param models of the call, one or two; none without provenance
 */
class Outcome(withError: Boolean, models: Seq[ModelIdentity]) extends Serializable {
  @transient private lazy val names = models.map(m => UTF8String.fromString(m.model))
  @transient private lazy val revisions =
    models.map(m => if (m.revision.isEmpty) null else UTF8String.fromString(m.revision))

  /**
   * One column: the row's outcome.
   *
   * @param model which of the call's models answered; the cache does not know which of two
   */
  def apply(
      value: Any,
      error: InternalRow,
      promptHash: UTF8String,
      source: String,
      mode: UTF8String = null,
      model: Int = 0): InternalRow =
    if (!withError && models.isEmpty) InternalRow(value)
    else {
      val unknown = source == Outcome.Cache && models.size > 1
      val from = Option.when(models.nonEmpty) {
        if (source == null) null
        else if (unknown) InternalRow(promptHash, null, null, UTF8String.fromString(source), mode)
        else InternalRow(promptHash, names(model), revisions(model), UTF8String.fromString(source), mode)
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
