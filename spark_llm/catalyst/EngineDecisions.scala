package org.apache.spark.sql.llm

/**
 * What the engine does beside computing a call: techniques that are switched on when it starts, so that they hold for
 * all calls of the application. Named after their keys, `spark.llm.<name>.enabled`.
 */
object EngineDecisions {
  private val Speculative = "Speculative"
  private val Key = "spark.llm.speculative.enabled"
  private val Allocator = "Allocator"
  private val Swap = "Swap"

  /** @param ran the call has run: the engines have said what they decided */
  def apply(settings: Map[String, String], ran: Boolean): Seq[Decision] =
    Seq(speculative(settings)) ++ allocator(settings, ran) :+ swap(settings)

  /** Where KV goes that the engine has no room for; the engine decides a mode of auto, and tells in its log. */
  private def swap(settings: Map[String, String]): Decision = {
    def value(name: String): Option[String] = LLMConf.get(settings, s"spark.llm.swap.$name").map(_.trim)
    if (!value("enabled").exists(_.equalsIgnoreCase("true"))) Decision.off(Swap, "spark.llm.swap.enabled")
    else if (EngineKind.of(settings) != EngineKind.Vllm)
      Decision.refused(Swap, "only engines that the plug-in starts can do it")
    else {
      val place = value("path").fold("host memory")(p => s"a file in $p")
      Decision.applied(Swap, s"${value("mode").get}, at most ${value("hostMemory").get} in $place")
    }
  }

  /** Which allocator an engine of ours gets; the engine knows its layers and decides when it starts. */
  private def allocator(settings: Map[String, String], ran: Boolean): Seq[Decision] =
    if (EngineKind.of(settings) != EngineKind.Vllm) Nil
    else
      LLMConf.get(settings, "spark.llm.memory.allocator").map(_.trim.toLowerCase) match {
        case Some("vllm") => Seq(Decision.refused(Allocator, "spark.llm.memory.allocator is vllm"))
        case _ if ran && ClusterMetrics.memories.nonEmpty =>
          ClusterMetrics.memories.toSeq.sortBy(_._1).map(_._2.decision(Allocator)).distinct
        case Some("jenga") => Seq(Decision.applied(Allocator, "jenga, or the engine does not start and says why"))
        case _ => Seq(Decision.refused(Allocator, "auto: decided by the engine when it starts"))
      }

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
