package org.apache.spark.sql.llm

import java.util.{Map => JMap}

import scala.jdk.CollectionConverters._

import com.codahale.metrics.Gauge

import org.apache.spark.SparkContext
import org.apache.spark.api.plugin.{DriverPlugin, ExecutorPlugin, PluginContext, SparkPlugin}
import org.apache.spark.internal.Logging
import org.apache.spark.sql.internal.SQLConf

/**
 * `spark.plugins=org.apache.spark.sql.llm.LLMPlugin`: starts the engine with the executor, so that the first query
 * does not wait for the model to load, and ends it with the executor. Without the plug-in the first call starts it.
 */
class LLMPlugin extends SparkPlugin {
  override def driverPlugin(): DriverPlugin = new LLMDriverPlugin
  override def executorPlugin(): ExecutorPlugin = new LLMExecutorPlugin
}

class LLMDriverPlugin extends DriverPlugin {
  private val Python = LLMPlugin.Python

  /** What the executors need: the settings of the application and the workers' interpreter. */
  override def init(sc: SparkContext, context: PluginContext): JMap[String, String] = {
    val conf = new SQLConf
    sc.conf.getAll.foreach { case (k, v) => if (k.startsWith("spark.")) conf.setConfString(k, v) }
    (LLMConf.userSet(conf) + (Python -> PythonCommand.executable(conf))).asJava
  }

  override def registerMetrics(appId: String, context: PluginContext): Unit =
    ClusterMetrics.register(context.metricRegistry)

  /** What an executor tells; see MetricsReporter. */
  override def receive(message: Any): AnyRef = {
    ClusterMetrics.receive(message.toString)
    null
  }
}

class LLMExecutorPlugin extends ExecutorPlugin with Logging {
  override def init(context: PluginContext, extra: JMap[String, String]): Unit = {
    EngineProcess.useGpus(context.resources())
    context.metricRegistry.register("engine.up", new Gauge[Int] {
      override def getValue: Int = if (EngineHost.state == "ready") 1 else 0
    })
    EngineMetrics.register(context.metricRegistry)
    MetricsReporter.start(context)
    val values = extra.asScala.toMap - LLMPlugin.Python
    if (values.contains("spark.llm.model") && EngineKind.of(values) == EngineKind.Vllm) {
      EngineHost.prestart(EngineSpec(values, extra.get(LLMPlugin.Python)))
    } else {
      logInfo("no engine is started: spark.llm.model is not set, or spark.llm.engine.kind is not vllm")
    }
  }

  override def shutdown(): Unit = {
    MetricsReporter.stop()
    EngineHost.stop()
  }
}

object LLMPlugin {
  private[llm] val Python = "python"
}
