package org.apache.spark.sql.llm

import java.io.{ByteArrayOutputStream, File}
import java.nio.{ByteBuffer, ByteOrder}
import java.nio.charset.StandardCharsets.UTF_8
import java.util.concurrent.ConcurrentHashMap

import scala.jdk.CollectionConverters._
import scala.sys.process.Process
import scala.util.Try

import org.apache.spark.SparkEnv
import org.apache.spark.api.python.{PythonBroadcast, PythonUtils, SimplePythonFunction}
import org.apache.spark.broadcast.Broadcast
import org.apache.spark.sql.internal.SQLConf

/**
 * A Python function made in the JVM, so that spark-sql, Thrift and Connect need no Python driver: a hand-written
 * pickle that says `spark_llm.worker.load_command(spec)`.
 */
object PythonCommand {
  private val versions = new ConcurrentHashMap[String, String]

  /** This jar, on this JVM. A jar is a zip and Python imports from it: it carries the Python half. */
  lazy val ownJar: Option[String] =
    Option(getClass.getProtectionDomain.getCodeSource).map(c => new File(c.getLocation.toURI).getPath)

  def pythonPath: String =
    PythonUtils.mergePythonPaths(ownJar.toSeq :+ sys.env.getOrElse("PYTHONPATH", ""): _*)

  /** The workers' interpreter, looked up as PySpark does. Driver only. */
  def executable(conf: SQLConf): String = {
    def set(key: String): Option[String] =
      Option(conf.getConfString(key, null)).orElse(SparkEnv.get.conf.getOption(key))
    set("spark.sql.execution.pyspark.python")
      .orElse(set("spark.pyspark.python"))
      .orElse(sys.env.get("PYSPARK_PYTHON"))
      .orElse(sys.env.get("PYSPARK_DRIVER_PYTHON"))
      .getOrElse("python3")
  }

  def function(spec: String, executable: String): SimplePythonFunction = {
    val environment = new java.util.HashMap[String, String]
    environment.put("PYTHONPATH",
      PythonUtils.mergePythonPaths(PythonUtils.sparkPythonPath, sys.env.getOrElse("PYTHONPATH", "")))
    val files = SparkEnv.get.conf.getOption("spark.submit.pyFiles").toSeq
      .flatMap(_.split(",")).filter(_.nonEmpty).map(_.split("/").last).distinct
    SimplePythonFunction(
      pickle("spark_llm.worker", "load_command", spec).toIndexedSeq,
      environment, files.asJava, executable, version(executable),
      new java.util.ArrayList[Broadcast[PythonBroadcast]], null)
  }

  /** Protocol 2 pickle of the call `module.name(argument)`. */
  private def pickle(module: String, name: String, argument: String): Array[Byte] = {
    val text = argument.getBytes(UTF_8)
    val out = new ByteArrayOutputStream
    out.write(s"c$module\n$name\n(X".getBytes(UTF_8))
    out.write(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(text.length).array)
    out.write(text)
    out.write("tR.".getBytes(UTF_8))
    out.toByteArray
  }

  // A worker refuses a function made for another Python version, so ask the interpreter, once. A path that exists only
  // on the executors (an archive shipped with the job) cannot be asked; then the driver's interpreter speaks for it.
  private def version(executable: String): String = versions.computeIfAbsent(executable, _ => {
    val drivers = SparkEnv.get.conf.getOption("spark.pyspark.driver.python") ++ sys.env.get("PYSPARK_DRIVER_PYTHON")
    (executable +: drivers.toSeq :+ "python3").iterator.flatMap(ask).nextOption().getOrElse(
      throw LLMErrors.invalidConf("spark.pyspark.python", executable, "a Python interpreter that starts"))
  })

  private def ask(python: String): Option[String] =
    Try(Process(Seq(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")).!!.trim).toOption
}
