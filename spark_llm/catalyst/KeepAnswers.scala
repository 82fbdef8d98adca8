package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.TaskContext
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.unsafe.types.UTF8String

/**
 * @param key    what the key of a row is made of
 * @param logged instruction and fields as text; empty: they are not kept
 */
case class KeepAnswers(target: CacheTarget, key: Seq[Expression], logged: Seq[Expression])

/**
 * Hands the answers of one task to its CacheWriter, each once: those that the engine gave, not repeated ones and not
 * failures. Questions get their keys when they are asked, since their rows come again only in their turn.
 * {{{
 *   ask -> waiting [key, key, ...] -- early(n) --> writer, what waits for others
 *                                  -- next ------> writer, what was not early
 * }}}
 */
class AnswerKeeper(keep: KeepAnswers, job: LLMEvalJob, context: TaskContext) {
  private class Question(val high: Long, val low: Long, val logged: Option[InternalRow]) {
    var kept = false
  }

  private val digest = new QuestionDigest(keep.key, job.input)
  private val text = UnsafeProjection.create(Seq(AnswerText.of(BoundReference(0, job.returnType, nullable = true))))
  private val logged = UnsafeProjection.create(keep.logged, job.input)
  private val writer = new CacheWriter(keep.target, context)
  private val waiting = mutable.ArrayDeque.empty[Question]
  private var answered = 0L

  def ask(row: InternalRow): Unit = {
    digest.see(row)
    waiting.append(new Question(digest.high, digest.low, Option.when(keep.logged.nonEmpty)(logged(row).copy())))
  }

  /**
   * @param number of the question in the task, from 0
   * @param reply  as in LLMEvalPartition.replySchema
   */
  def early(number: Long, reply: InternalRow): Unit = write(waiting((number - answered).toInt), reply)

  /** The reply to the question that has waited longest. */
  def next(reply: InternalRow): Unit = {
    answered += 1
    write(waiting.removeHead(), reply)
  }

  private def write(question: Question, reply: InternalRow): Unit =
    if (!question.kept && reply.isNullAt(1) && !reply.isNullAt(0) && reply.getInt(3) > 0) {
      question.kept = true
      val answer = text(reply)
      if (!answer.isNullAt(0)) {
        def shown(i: Int): UTF8String = question.logged.map(_.getUTF8String(i)).orNull
        writer.write(
          question.high, question.low, answer.getUTF8String(0), shown(0), shown(1), reply.getLong(4), reply.getLong(6))
      }
    }
}
