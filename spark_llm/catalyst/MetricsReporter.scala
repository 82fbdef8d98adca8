package org.apache.spark.sql.llm

import scala.util.control.NonFatal

import org.apache.spark.api.plugin.PluginContext
import org.apache.spark.internal.Logging

/** Tells the driver every two seconds what this executor's engine and calls have counted, if anything changed. */
object MetricsReporter extends Logging {
  private val EveryMs = 2000L
  @volatile private var thread: Option[Thread] = None

  def start(context: PluginContext): Unit = {
    val started = new Thread(() => run(context), "spark-llm-metrics")
    started.setDaemon(true)
    thread = Some(started)
    started.start()
  }

  def stop(): Unit = thread.foreach(_.interrupt())

  private def run(context: PluginContext): Unit = {
    var last = Map.empty[String, Any]
    try {
      while (!Thread.interrupted()) {
        Thread.sleep(EveryMs)
        val now = Map[String, Any](
          "engine" -> EngineMetrics.sample, "memory" -> EngineMetrics.memory.map(_.json), "calls" -> CallCounters.all)
        // an engine that stands still is told too: its strip goes on
        if (now != last || EngineMetrics.sample.isDefined) {
          last = now
          val head = Map[String, Any]("executor" -> context.executorID, "at_ms" -> System.currentTimeMillis())
          context.send(Resources.write(head ++ now))
        }
      }
    } catch {
      case _: InterruptedException =>
      case NonFatal(e) => logWarning(s"the driver is not told of the engine's metrics any more: ${e.getMessage}")
    }
  }
}
