package org.apache.spark.sql.llm

import org.apache.spark.TaskContext
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.unsafe.types.UTF8String

/**
 * @param key    what the key of a row is made of
 * @param logged instruction and fields as text; empty: they are not kept
 */
case class KeepAnswers(target: CacheTarget, key: Seq[Expression], logged: Seq[Expression])

/** Hands the answers of one task to its CacheWriter: those that the engine gave, not repeated ones and not failures. */
class AnswerKeeper(keep: KeepAnswers, job: LLMEvalJob, context: TaskContext) {
  private val digest = new QuestionDigest(keep.key, job.input)
  private val text = UnsafeProjection.create(Seq(AnswerText.of(BoundReference(0, job.returnType, nullable = true))))
  private val logged = UnsafeProjection.create(keep.logged, job.input)
  private val writer = new CacheWriter(keep.target, context)

  /** @param reply as in LLMEvalPartition.replySchema */
  def keep(row: InternalRow, reply: InternalRow): Unit =
    if (reply.isNullAt(1) && !reply.isNullAt(0) && reply.getInt(3) > 0) {
      val answer = text(reply)
      if (!answer.isNullAt(0)) {
        digest.see(row)
        val told = logged(row)
        def shown(i: Int): UTF8String = if (keep.logged.isEmpty) null else told.getUTF8String(i)
        writer.write(digest, answer.getUTF8String(0), shown(0), shown(1), reply.getLong(4), reply.getLong(6))
      }
    }
}
