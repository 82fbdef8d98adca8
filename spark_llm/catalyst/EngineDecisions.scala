package org.apache.spark.sql.llm

/**
 * What the engine does beside computing a call: techniques that are switched on when it starts, so that they hold for
 * all calls of the application. Named after their keys, `spark.llm.<name>.enabled`.
 */
object EngineDecisions {
  private val Speculative = "Speculative"
  private val Key = "spark.llm.speculative.enabled"

  def apply(settings: Map[String, String]): Seq[Decision] = Seq(speculative(settings))

  private def speculative(settings: Map[String, String]): Decision = {
    def value(name: String): Option[String] = LLMConf.get(settings, s"spark.llm.speculative.$name")
    if (!value("enabled").exists(_.trim.equalsIgnoreCase("true"))) Decision.off(Speculative, Key)
    else if (EngineKind.of(settings) != EngineKind.Vllm)
      Decision.refused(Speculative, "only engines that the plug-in starts can do it")
    else {
      val source = value("model").fold("the row's text, finished answers and the grammar")(m => s"the model $m")
      Decision.applied(
        Speculative,
        s"at most ${value("length").get} tokens a row and step, drafted from $source (policy ${value("policy").get})")
    }
  }
}
