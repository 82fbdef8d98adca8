package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions.{Expression, RowOrdering}

/**
 * What is known about the values of a field.
 *
 * @param chars    mean length of a value as JSON text, over all rows, NULL counting 0
 * @param distinct number of different values, NULL being one
 * @param present  share of rows that have a value, 0 to 1
 * @param heaviest share of rows that the most frequent value holds, where known
 */
case class FieldEstimate(chars: Double, distinct: Double, present: Double, heaviest: Option[Double] = None) {

  /** Mean prompt tokens of `"name": value, `. */
  def tokens(name: String): Double =
    (present * (name.length + FieldEstimate.SyntaxChars) + chars) / FieldEstimate.CharsPerToken
}

object FieldEstimate {
  private val CharsPerToken = 4.0
  private val SyntaxChars = 6 // two quotes, colon, comma, two blanks

  /** The same text in every row. */
  def constant(chars: Int): FieldEstimate = FieldEstimate(chars, 1, 1, Some(1.0))
}

/** Fields that rows can be hashed and sorted by. Maps and variants have no order: the worker finds equal ones. */
object FieldKeys {
  def usable(e: Expression): Boolean = !e.foldable && RowOrdering.isOrderable(e.dataType)

  /** An instruction that differs from row to row comes before all fields in the prompt. */
  def instruction(call: LLMCall): Option[Expression] = Some(call.instruction).filter(usable)

  def of(call: LLMCall, positions: Seq[Int]): Seq[Expression] =
    (instruction(call).toSeq ++ positions.map(call.fields(_)).filter(usable)).distinct

  def names(call: LLMCall, positions: Seq[Int]): Seq[String] =
    instruction(call).map(_ => "instruction").toSeq ++
      positions.filter(i => usable(call.fields(i))).map(call.fieldNames(_))
}
