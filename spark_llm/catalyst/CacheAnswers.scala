package org.apache.spark.sql.llm

import org.apache.spark.sql.{classic, SparkSession}
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.expressions.aggregate.First
import org.apache.spark.sql.catalyst.plans.LeftOuter
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.types._

/**
 * Before LayOutCalls: rows whose question was answered by an earlier query get that answer, and the answers of the
 * others are kept for later ones.
 * {{{
 *   LLMEval [llm(x)] (child)       ->  LLMEval [llm(x), stored=#a, store=folder] (LookUpAnswers [#a] (child, files))
 *   nothing stored yet             ->  LLMEval [llm(x), store=folder] (child)
 *   more stored than memory holds  ->  LLMEval [llm(x), stored=#a, store=folder]
 *                                        (LEFT JOIN (child, Aggregate [one row a key] (files)))
 * }}}
 * Only at temperature 0 or with a seed: other answers are draws, and each row is to have its own.
 */
case class CacheAnswers(session: SparkSession) {
  import CacheAnswers._

  private val nowMs = System.currentTimeMillis()

  def apply(plan: LogicalPlan): LogicalPlan =
    if (!CacheConf.enabled) plan
    else plan.transformUp { case e: LLMEval if e.cache.isEmpty => place(e) }

  private def place(e: LLMEval): LLMEval =
    if (e.call.options.sampled) e.copy(call = e.call.noted(Decision.refused(Rule, "temperature > 0 without a seed")))
    else {
      val fingerprint = CallFingerprint(e.call)
      val classicSession = session.asInstanceOf[classic.SparkSession]
      val folder = CacheFolder(
        new org.apache.hadoop.fs.Path(CacheConf.dir, s"call=${fingerprint.id}"),
        classicSession.sessionState.newHadoopConf())
      folder.checkWritable()
      val bytes = folder.files.map(_.getLen).sum
      val target = CallCache(folder.path.toString, fingerprint)
      if (bytes == 0) noted(e.copy(cache = Some(target)), "nothing is stored yet; answers are kept")
      else {
        val answer = AttributeReference("stored_answer", StringType)()
        val values = QuestionKey.values(e.call, QuestionKey.zone)
        val files = stored(folder.relation(classicSession))
        val found =
          if (bytes <= mostBroadcastBytes) LookUpAnswers(values, e.child, files, answer)
          else joined(e.child, values, files, answer)
        noted(e.copy(child = found, stored = Some(answer), cache = Some(target)), "stored answers are looked up first")
      }
    }

  private def noted(e: LLMEval, what: String): LLMEval = e.copy(call = e.call.noted(Decision.applied(Rule, what)))

  /** key_high, key_low, answer of what is young enough. */
  private def stored(files: LogicalPlan): LogicalPlan = {
    def column(name: String): Attribute = files.output.find(_.name == name).get
    val young = CacheConf.ttlMs.fold(files) { ttl =>
      Filter(GreaterThan(column("created_at"), Literal((nowMs - ttl) * 1000L, TimestampType)), files)
    }
    Project(Seq("key_high", "key_low", "answer").map(column), young)
  }

  private def joined(
      child: LogicalPlan,
      values: Seq[Expression],
      files: LogicalPlan,
      answer: AttributeReference): LogicalPlan = {
    val one = Alias(First(files.output(2), ignoreNulls = true).toAggregateExpression(), answer.name)(answer.exprId)
    val right = Aggregate(files.output.take(2), files.output.take(2) :+ one, files)
    val keys = Seq(true, false).map(first => Alias(QuestionKeyHalf(values, first), "question_key")())
    val left = Project(child.output ++ keys, child)
    val condition = And(
      EqualTo(keys.head.toAttribute, files.output.head), EqualTo(keys.last.toAttribute, files.output(1)))
    Project(child.output :+ answer, Join(left, right, LeftOuter, Some(condition), JoinHint.NONE))
  }

  /** Files are compressed and a hash table is not; a tenth of the smaller heap is left for it. */
  private def mostBroadcastBytes: Long = CacheConf.broadcastMaxBytes.getOrElse {
    val conf = session.sparkContext.conf
    val executor = if (session.sparkContext.isLocal) Long.MaxValue
      else conf.getSizeAsBytes("spark.executor.memory", "1g")
    math.min(Runtime.getRuntime.maxMemory, executor) / HeapPerFileByte
  }
}

object CacheAnswers {
  val Rule = "CacheAnswers"
  private val HeapPerFileByte = 10
}

/** Where the answers of a call are kept. */
case class CallCache(folder: String, fingerprint: CallFingerprint)
