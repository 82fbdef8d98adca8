package org.apache.spark.sql.llm

import org.apache.spark.sql.internal.SQLConf

/**
 * All that is the same for every row of a call and can change an answer, as one name: model and revision, system
 * message, instruction, sampling parameters, return type, names of fields. The order of fields in the prompt is not
 * among it: the planner may choose another one next time, and a rerun would find nothing.
 *
 * @param id              name of the call's folder
 * @param instructionHash SHA-256 of the instruction, empty where it differs from row to row
 */
case class CallFingerprint(id: String, model: ModelIdentity, instructionHash: String, instruction: Option[String])

object CallFingerprint {
  private val Version = 1
  private val Digits = 32

  def apply(call: LLMCall): CallFingerprint = {
    val values = Models.settings(call.options, LLMConf.userSet(SQLConf.get))
    val answering = Models.identities(call.options, values)
    val model = ModelIdentity(
      answering.map(_.model).mkString(","), answering.map(_.revision).filter(_.nonEmpty).mkString(","))
    val instruction =
      if (call.instruction.foldable) Option(call.instruction.eval()).map(_.toString) else None
    val o = call.options
    val constants = Seq[Any](
      Version, model.model, model.revision, LLMConf.get(values, "spark.llm.systemPrompt"), call.instruction.foldable,
      instruction, o.temperature, o.maxTokens.map(_.toString).orElse(LLMConf.get(values, LLMConf.MaxAnswer)), o.seed,
      o.returnType.json, o.first, o.last, QuestionKey.shape(call)) ++ Reasoning.fingerprint(call, values) ++
      Models.fingerprint(call, values)
    CallFingerprint(hash(Resources.write(constants)).take(Digits), model, instruction.fold("")(hash), instruction)
  }

  private def hash(text: String): String = ModelIdentity.hex(ModelIdentity.sha(text.getBytes("UTF-8")))
}
