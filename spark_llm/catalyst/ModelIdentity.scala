package org.apache.spark.sql.llm

import java.io.{File, RandomAccessFile}
import java.nio.file.Files
import java.security.MessageDigest
import java.util.concurrent.ConcurrentHashMap

import scala.util.Try

/**
 * Which model answers, so that the answers of one are never taken for those of another.
 * {{{
 *   a folder            name, and a digest of config.json and of each weight file's name, size, beginning and end
 *   a hub name          name, and spark.llm.models.<name>.revision, else the commit that the local hub cache has
 *   an endpoint         URL and name; revision as above, since nobody can ask a server what it loaded
 *   the fake engine     its settings and rules
 * }}}
 *
 * @param model    name or path, with the endpoint where there is one
 * @param revision what tells two states of that model apart; empty where nothing does
 */
case class ModelIdentity(model: String, revision: String)

object ModelIdentity {
  private val SampleBytes = 64 * 1024
  private val Weights = Seq(".safetensors", ".bin", ".gguf", ".pt")
  // a digest is taken once in the life of a driver: who replaces weights in place starts a new one
  private val digests = new ConcurrentHashMap[String, String]

  /** @param values `spark.llm.*` as set, with the call's own model as spark.llm.model */
  def of(values: Map[String, String]): ModelIdentity = {
    val name = values.getOrElse("spark.llm.model", "").trim
    def named(part: String): Option[String] = values.get(s"spark.llm.models.$name.$part").filter(_.nonEmpty)
    val path = named("path").getOrElse(name)
    EngineKind.of(values) match {
      case EngineKind.Fake => ModelIdentity(s"fake:$name", fake(values))
      case EngineKind.OpenAI =>
        val endpoint = named("endpoint").orElse(values.get("spark.llm.engine.endpoint")).getOrElse("")
        ModelIdentity(s"${endpoint.stripSuffix("/")}#$path", named("revision").getOrElse(""))
      case _ =>
        val file = new File(path.replaceFirst("^~", System.getProperty("user.home")))
        val revision = named("revision").getOrElse {
          if (file.exists) digests.computeIfAbsent(file.getAbsolutePath, _ => digest(file)) else commit(path)
        }
        ModelIdentity(path, revision)
    }
  }

  private def fake(values: Map[String, String]): String = {
    val settings = values.filter(_._1.startsWith("spark.llm.fake.")).toSeq.sorted
    val rules = values.get("spark.llm.fake.answers").map(p => Try(Files.readString(new File(p).toPath)).getOrElse(""))
    hex(sha(Resources.write(Map("settings" -> settings.toMap, "rules" -> rules)).getBytes("UTF-8"))).take(16)
  }

  private def digest(model: File): String = {
    val files = if (model.isDirectory) model.listFiles.toSeq.sortBy(_.getName) else Seq(model)
    val sha = MessageDigest.getInstance("SHA-256")
    files.filter(f => f.getName == "config.json" || Weights.exists(f.getName.endsWith)).foreach { f =>
      sha.update(s"${f.getName}:${f.length}\n".getBytes("UTF-8"))
      ends(f).foreach(sha.update)
    }
    hex(sha.digest)
  }

  private def ends(f: File): Seq[Array[Byte]] = {
    val in = new RandomAccessFile(f, "r")
    try {
      val starts = Seq(0L, math.max(0L, in.length - SampleBytes)).distinct
      starts.map { start =>
        val bytes = new Array[Byte](math.min(SampleBytes.toLong, in.length - start).toInt)
        in.seek(start)
        in.readFully(bytes)
        bytes
      }
    } finally in.close()
  }

  private def commit(name: String): String = {
    val home = sys.env.getOrElse("HF_HOME", s"${System.getProperty("user.home")}/.cache/huggingface")
    val hub = new File(sys.env.getOrElse("HF_HUB_CACHE", s"$home/hub"), s"models--${name.replace("/", "--")}")
    Try(Files.readString(new File(hub, "refs/main").toPath).trim).getOrElse("")
  }

  private[llm] def sha(bytes: Array[Byte]): Array[Byte] = MessageDigest.getInstance("SHA-256").digest(bytes)
  private[llm] def hex(bytes: Array[Byte]): String = bytes.map(b => f"${b & 0xff}%02x").mkString
}
