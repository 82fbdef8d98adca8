package org.apache.spark.sql.llm

import org.apache.spark.SparkContext

/**
 * How many engines answer, each with a prefix cache of its own, and how many tasks can run at once.
 *
 * @param count one per executor; a remote endpoint counts as one
 * @param slots tasks that run at the same time
 */
case class Engines(count: Int, slots: Int)

object Engines {
  private val LocalCluster = """local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,.*""".r

  def of(context: SparkContext, kind: String): Engines = {
    val conf = context.conf
    val executors =
      if (context.isLocal) 1
      else {
        val registered = context.statusTracker.getExecutorInfos.length - 1 // the driver is in the list
        val asked = context.master match {
          case LocalCluster(workers, _) => workers.toInt
          case _ if conf.getBoolean("spark.dynamicAllocation.enabled", false) =>
            // an upper bound that nobody set is no number of engines
            Some(conf.getInt("spark.dynamicAllocation.maxExecutors", Int.MaxValue)).filter(_ < Int.MaxValue)
              .getOrElse(conf.getInt("spark.dynamicAllocation.minExecutors", 1))
          case _ => conf.getInt("spark.executor.instances", 1)
        }
        math.max(1, math.max(registered, asked))
      }
    val slots = math.max(executors, context.defaultParallelism)
    Engines(if (kind == EngineKind.OpenAI) 1 else executors, slots)
  }
}
