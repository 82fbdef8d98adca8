package org.apache.spark.sql.llm

/** `spark.llm.engine.kind`: who answers. A named model with an endpoint of its own is remote whatever the kind says. */
object EngineKind {
  val Vllm = "vllm"
  val OpenAI = "openai"
  val Fake = "fake"
  private val Key = "spark.llm.engine.kind"

  def of(values: Map[String, String]): String = {
    val kind = LLMConf.get(values, Key).get.trim.toLowerCase
    if (!Seq(Vllm, OpenAI, Fake).contains(kind)) throw LLMErrors.invalidConf(Key, kind, s"$Vllm, $OpenAI or $Fake")
    val named = values.get("spark.llm.model").flatMap(m => values.get(s"spark.llm.models.$m.endpoint"))
    if (kind == Vllm && named.isDefined) OpenAI else kind
  }

  /** What can be known before a job starts. */
  def check(kind: String, values: Map[String, String]): Unit =
    if (kind != Fake && values.get("spark.llm.model").forall(_.trim.isEmpty)) throw LLMErrors.modelNotSet()
}
