package org.apache.spark.sql.llm

import java.io.{BufferedReader, File, InputStreamReader, IOException}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.Path
import java.util.concurrent.TimeUnit

import scala.jdk.CollectionConverters._
import scala.util.control.NonFatal

import org.apache.spark.internal.Logging
import org.apache.spark.resource.ResourceInformation

/**
 * The supervisor of one engine: `python -m spark_llm.engine.server`, which starts the engine, checks that it is
 * ready and restarts it. It tells its state in JSON lines on standard output, and it ends, with the engine, when its
 * standard input closes: that happens even when this JVM is killed.
 */
class EngineProcess(val spec: EngineSpec, directory: Path) extends Logging {
  private val StopWaitS = 15L

  @volatile private var told = EngineProcess.Told("starting", None, None)
  @volatile private var stopping = false
  @volatile private var endedAtMs: Option[Long] = None

  val address: EngineAddress =
    EngineAddress(directory.resolve("engine.sock").toString, directory.resolve("state.json").toString)

  private val process: Process = {
    val builder = new ProcessBuilder(spec.python, "-m", "spark_llm.engine.server")
    builder.redirectError(ProcessBuilder.Redirect.appendTo(logFile))
    builder.environment().put("PYTHONPATH", PythonCommand.pythonPath)
    EngineProcess.gpus.foreach(builder.environment().put("CUDA_VISIBLE_DEVICES", _))
    try builder.start()
    catch { case e: IOException => throw LLMErrors.engineFailed(e.getMessage, "none was written") }
  }

  locally {
    val order = Resources.write(Map[String, Any]("dir" -> directory.toString, "conf" -> spec.values)) + "\n"
    try {
      process.getOutputStream.write(order.getBytes(UTF_8))
      process.getOutputStream.flush()
    } catch { case NonFatal(e) => logWarning(s"the engine's supervisor ended at once, see $logFile", e) }
    val reader = new Thread(() => listen(), "spark-llm-engine")
    reader.setDaemon(true)
    reader.start()
  }

  def state: String = told.state
  def usable: Boolean = process.isAlive && state != "failed" && state != "stopped"

  def failedWithinMs(ms: Long): Boolean = !usable && endedAtMs.exists(System.currentTimeMillis() - _ < ms)

  /** @param check called while waiting; may throw to give up */
  def awaitReady(check: () => Unit): Unit = {
    while (state != "ready") {
      if (!usable) throw failure()
      check()
      Thread.sleep(EngineProcess.PollMs)
    }
  }

  def stop(): Unit = {
    stopping = true
    try process.getOutputStream.close()
    catch { case NonFatal(_) => }
    if (!process.waitFor(StopWaitS, TimeUnit.SECONDS)) {
      process.descendants().forEach(p => p.destroyForcibly())
      process.destroyForcibly()
    }
  }

  private def logFile: File = directory.resolve("supervisor.log").toFile

  def failure(): LLMExecutionException = {
    // the last line may still be on its way when the process has ended
    process.waitFor(1, TimeUnit.SECONDS)
    (told.condition, told.message) match {
      case (Some(condition), Some(message)) => LLMErrors.whileRunning(condition, message)
      case _ => LLMErrors.engineFailed("its supervisor ended without a word", logFile.toString)
    }
  }

  private def listen(): Unit = {
    val lines = new BufferedReader(new InputStreamReader(process.getInputStream, UTF_8))
    try Iterator.continually(lines.readLine()).takeWhile(_ != null).foreach(hear)
    catch { case NonFatal(e) => if (!stopping) logWarning("lost the engine's supervisor", e) }
    if (told.state != "failed") told = told.copy(state = "stopped")
    endedAtMs = Some(System.currentTimeMillis())
    EngineMetrics.clear()
    if (!stopping) logWarning(s"the engine's supervisor ended: $told")
  }

  private def hear(line: String): Unit =
    try {
      val node = Resources.parse(line)
      def text(name: String): Option[String] = Option(node.get(name)).filterNot(_.isNull).map(_.asText)
      Option(node.get("memory")).foreach(EngineMetrics.tell)
      Option(node.get("metrics")).foreach(EngineMetrics.add)
      text("state").foreach { s =>
        told = EngineProcess.Told(s, text("condition"), text("message"))
        logInfo(s"engine: $line")
      }
    } catch { case NonFatal(_) => logInfo(s"engine's supervisor: $line") }
}

object EngineProcess {
  private val PollMs = 50L

  private case class Told(state: String, condition: Option[String], message: Option[String])

  @volatile private var gpus: Option[String] = None

  /** The GPUs that Spark gave to this executor. */
  def useGpus(resources: java.util.Map[String, ResourceInformation]): Unit =
    gpus = resources.asScala.get("gpu").map(_.addresses.mkString(","))
}
