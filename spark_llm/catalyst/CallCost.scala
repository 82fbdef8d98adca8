package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.types._
import org.apache.spark.unsafe.types.UTF8String
import org.apache.spark.sql.catalyst.expressions._

/**
 * What a call is expected to cost per row, in prompt tokens: those of its prompt, and those of its answer, each of
 * which takes a step of the engine. Good enough to compare calls of one query; no figure for a user.
 */
object CallCost {
  private val CharsPerPromptToken = 4.0
  // steps of the engine are bound by memory traffic and prompts by arithmetic; price lists put the ratio at 4 to 5
  private val AnswerWeight = 4.0
  // text that is asked for to be compared is short, whatever the limit says
  private val TextAnswerTokens = 32
  private val NestedAnswerTokens = 64
  private val JsonSyntaxChars = 6

  def apply(call: LLMCall, plan: LogicalPlan): Double = {
    val sizes = new FieldSizes(plan)
    val instruction = call.instruction match {
      case Literal(s: UTF8String, _: StringType) => s.numChars.toDouble
      case other => sizes.chars(other)
    }
    val fields = call.fieldNames.zip(call.fields).map { case (name, field) =>
      name.length + JsonSyntaxChars + sizes.chars(field)
    }
    val tokens = (instruction + fields.sum) / CharsPerPromptToken + AnswerWeight * answerTokens(call)
    if (LLMConf.dedup && !Calls.draws(call)) tokens * sizes.distinctShare(call.fields) else tokens
  }

  private def answerTokens(call: LLMCall): Int = {
    val usual = call.options.returnType match {
      case BooleanType => 1
      case _: NumericType => 4
      case _: AtomicType if !call.options.returnType.isInstanceOf[StringType] => 8
      case _: StringType => TextAnswerTokens
      case _ => NestedAnswerTokens
    }
    call.options.maxTokens.fold(usual)(math.min(usual, _))
  }
}
