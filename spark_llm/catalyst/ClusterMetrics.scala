package org.apache.spark.sql.llm

import scala.collection.mutable

import com.codahale.metrics.MetricRegistry

/**
 * The driver's view of all engines: sums over the executors in Spark's metric system (`engines.*`, `calls.LABEL.*`),
 * since Spark's Prometheus servlet answers on the driver only, and what they were over time, for run reports.
 * {{{
 *   executor 1 --MetricsReporter--\
 *   executor 2 --MetricsReporter----> receive --> newest of each, bounded history --> registry, RunReport
 * }}}
 */
object ClusterMetrics {
  private val MaxSamples = 1800 // an hour of one executor

  /** One reading of one executor's engine. */
  case class Sample(executor: String, atMs: Long, engine: Map[String, Double])

  private val newest = mutable.HashMap.empty[String, Map[String, Double]]
  private val calls = mutable.HashMap.empty[String, Map[String, Map[String, Double]]]
  private val memory = mutable.HashMap.empty[String, EngineMemory]
  private val history = mutable.Queue.empty[Sample]
  private var registry: Option[MetricRegistry] = None

  def register(to: MetricRegistry): Unit = {
    synchronized {
      newest.clear()
      calls.clear()
      memory.clear()
      history.clear()
      registry = Some(to)
    }
    EngineMetrics.Counters.foreach { n =>
      EngineMetrics.put(to, s"engines.$n", EngineMetrics.counter(() => sum(n).toLong))
    }
    EngineMetrics.Gauges.foreach { n =>
      EngineMetrics.put(to, s"engines.$n", EngineMetrics.gauge(() => if (EngineMetrics.Means(n)) mean(n) else sum(n)))
    }
  }

  private def mean(name: String): Double = {
    val all = synchronized(newest.values.flatMap(_.get(name)).toSeq)
    if (all.isEmpty) 0.0 else all.sum / all.size
  }

  /** @param message JSON of MetricsReporter */
  def receive(message: String): Unit = {
    val node = Resources.parse(message)
    val executor = node.get("executor").asText
    val told = Resources.members(node.get("calls")).map { case (label, n) => label -> EngineMetrics.values(n) }
    val engine = Option(node.get("engine")).filterNot(_.isNull).map(EngineMetrics.values)
    synchronized {
      calls(executor) = told
      memory.remove(executor)
      EngineMemory.of(node.get("memory")).foreach(memory(executor) = _)
      if (engine.isEmpty) newest.remove(executor)
      engine.foreach { values =>
        newest(executor) = values
        history.enqueue(Sample(executor, node.get("at_ms").asLong, values))
        if (history.size > MaxSamples * math.max(1, newest.size)) history.dequeue()
      }
    }
    told.keys.foreach { label =>
      registry.foreach { to =>
        EngineMetrics.OfCalls.foreach { n =>
          EngineMetrics.put(to, s"calls.$label.$n", EngineMetrics.counter(() => ofCall(label, n).toLong))
        }
      }
    }
  }

  /** How the engines lay out their memory, by executor. */
  def memories: Map[String, EngineMemory] = synchronized(memory.toMap)

  /** Readings from `fromMs` on, oldest first. */
  def since(fromMs: Long): Seq[Sample] = synchronized(history.filter(_.atMs >= fromMs).toSeq)

  private def ofCall(label: String, name: String): Double =
    synchronized(calls.values.flatMap(_.get(label)).flatMap(_.get(name)).sum)

  // engines without a metrics page: what their tasks counted
  private def sum(name: String): Double = synchronized {
    if (newest.isEmpty) calls.values.flatMap(_.values).flatMap(_.get(name)).sum
    else newest.values.flatMap(_.get(name)).sum
  }
}
