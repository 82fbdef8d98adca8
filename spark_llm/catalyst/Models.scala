package org.apache.spark.sql.llm

/**
 * The models of a call: one, or a cheap and a costly one between which the router chooses row by row.
 * {{{
 *   models => 'small,large'    small answers every row, large those that the router chooses
 *   model => 'small'           else spark.llm.model
 * }}}
 * At kind=vllm an executor has one engine, so at most one of two has no endpoint: that is what the engine serves.
 */
object Models {
  private val Model = "spark.llm.model"
  val Expected = "two different names, the cheap model first, such as 'small,large'"

  /** `spark.llm.*` with the model that this call's engine serves as spark.llm.model. */
  def settings(options: LLMOptions, values: Map[String, String]): Map[String, String] =
    values ++ options.models.find(local(_, values)).orElse(options.models.headOption).orElse(options.model)
      .map(Model -> _)

  /** Which model answers, or which two, in their order. */
  def identities(options: LLMOptions, values: Map[String, String]): Seq[ModelIdentity] =
    if (options.models.isEmpty) Seq(ModelIdentity.of(settings(options, values)))
    else options.models.map(m => ModelIdentity.of(values + (Model -> m)))

  /** What only settings can tell: whether both can be asked, and that no more than one thing is chosen per row. */
  def check(options: LLMOptions, values: Map[String, String]): Unit = if (options.models.nonEmpty) {
    def refuse(expected: String): Nothing =
      throw LLMErrors.invalidOption("models", s"'${options.models.mkString(",")}'", expected)
    if (options.models.forall(local(_, values))) {
      refuse("at least one with spark.llm.models.NAME.endpoint, as an executor has one engine")
    }
    if (Reasoning.mode(options, values) == Reasoning.Auto) {
      refuse(s"reasoning => '${Reasoning.Off}' or '${Reasoning.On}' beside it, as spark.llm.reasoning.mode is auto")
    }
  }

  /** What of them can change an answer; nothing for one model, which the fingerprint has anyway. */
  def fingerprint(call: LLMCall, values: Map[String, String]): Seq[Any] =
    if (call.options.models.isEmpty) Nil
    else
      identities(call.options, values).flatMap(m => Seq(m.model, m.revision)) ++
        Seq(LLMConf.get(values, "spark.llm.reasoning.policy"), call.labels.isDefined)

  private def local(model: String, values: Map[String, String]): Boolean =
    EngineKind.of(values + (Model -> model)) == EngineKind.Vllm
}
