package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions.Expression

/** What rows are hashed and sorted by, in prompt order; an instruction per row comes first. */
case class LayoutKey(expression: Expression, name: String, estimate: Option[FieldEstimate])

object LayoutKeys {
  def apply(call: LLMCall, positions: Seq[Int], estimates: Seq[Option[FieldEstimate]]): Seq[LayoutKey] = {
    val instruction = FieldKeys.instruction(call).map(LayoutKey(_, "instruction", None))
    val fields = positions.map { i =>
      LayoutKey(call.fields(i), call.fieldNames(i), estimates.lift(i).flatten)
    }
    (instruction.toSeq ++ fields.filter(k => FieldKeys.usable(k.expression))).distinctBy(_.expression.canonicalized)
  }

  def known(keys: Seq[LayoutKey]): Boolean = keys.exists(_.estimate.isDefined)

  def fields(keys: Seq[LayoutKey]): Seq[ChooseFieldOrder.Field] =
    keys.map(k => ChooseFieldOrder.Field(k.name, k.estimate))
}
