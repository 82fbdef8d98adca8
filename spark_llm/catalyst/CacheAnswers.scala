package org.apache.spark.sql.llm

import org.apache.hadoop.fs.Path

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
 * "files" are those of the call's folder that have not moved to spark.llm.cache.table, and the call's rows in it.
 * cache => true | false says so for one call; else spark.llm.cache.enabled does.
 * Only at temperature 0 or with a seed: other answers are draws, and each row is to have its own.
 */
case class CacheAnswers(session: SparkSession) {
  import CacheAnswers._

  private val classicSession = session.asInstanceOf[classic.SparkSession]
  private lazy val sinceMs = CacheConf.ttlMs.map(System.currentTimeMillis() - _)
  private lazy val table = AnswerTable.of(classicSession)
  private lazy val filled = table.filter(_.exists(classicSession))

  def apply(plan: LogicalPlan): LogicalPlan =
    plan.transformUp {
      case e: LLMEval if e.cache.isEmpty && e.call.options.cache.getOrElse(CacheConf.enabled) => place(e)
      case e: LLMEval if e.call.options.cache.contains(false) =>
        e.copy(call = e.call.noted(Decision.refused(Rule, "cache => false")))
    }

  private def place(e: LLMEval): LLMEval =
    if (e.call.options.sampled) e.copy(call = e.call.noted(Decision.refused(Rule, "temperature > 0 without a seed")))
    else {
      val fingerprint = CallFingerprint(e.call)
      val folder = CacheFolder(
        new Path(CacheConf.dir, s"call=${fingerprint.id}"), classicSession.sessionState.newHadoopConf())
      folder.checkWritable()
      val target = CallCache(folder.path.toString, fingerprint, table.map(_.name), CacheConf.maxBytes)
      val sources = stored(folder) ++ filled.flatMap(_.answers(classicSession, fingerprint.id, sinceMs))
      if (sources.isEmpty) noted(e.copy(cache = Some(target)), "nothing is stored yet; answers are kept")
      else {
        val answer = AttributeReference("stored_answer", StringType)()
        val values = QuestionKey.values(e.call, QuestionKey.zone)
        val rows = sources.map(_._1).reduce(Union(_, _))
        val found =
          if (sources.map(_._2).sum <= mostBroadcastBytes) LookUpAnswers(values, e.child, rows, answer)
          else joined(e.child, values, rows, answer)
        noted(e.copy(child = found, stored = Some(answer), cache = Some(target)), "stored answers are looked up first")
      }
    }

  private def noted(e: LLMEval, what: String): LLMEval = e.copy(call = e.call.noted(Decision.applied(Rule, what)))

  /** key_high, key_low, answer of what is in the folder, young enough and not yet in the table; and its size. */
  private def stored(folder: CacheFolder): Option[(LogicalPlan, BigInt)] = {
    val moved = filled.fold(Set.empty[String])(t => CacheMove.marked(folder, t))
    Some(folder.files.filterNot(f => moved(f.getPath.getName))).filter(_.nonEmpty).map { files =>
      val all = folder.relation(classicSession, files)
      def column(name: String): Attribute = all.output.find(_.name == name).get
      val young = sinceMs.fold[LogicalPlan](all) { ms =>
        Filter(GreaterThan(column("created_at"), Literal(ms * 1000L, TimestampType)), all)
      }
      Project(Seq("key_high", "key_low", "answer").map(column), young) -> BigInt(files.map(_.getLen).sum)
    }
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

/**
 * Where the answers of a call are kept.
 *
 * @param table    to which they move when the query has ended
 * @param maxBytes size of all calls' folders above which the oldest files go then
 */
case class CallCache(folder: String, fingerprint: CallFingerprint, table: Option[String], maxBytes: Option[Long])
