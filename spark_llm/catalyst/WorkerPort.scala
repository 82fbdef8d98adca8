package org.apache.spark.sql.llm

import java.io.{BufferedReader, IOException, InputStreamReader}
import java.net.{StandardProtocolFamily, UnixDomainSocketAddress}
import java.nio.ByteBuffer
import java.nio.channels.{Channels, ServerSocketChannel, SocketChannel}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path, Paths}
import java.nio.file.attribute.PosixFilePermissions

import scala.util.control.NonFatal

import org.apache.spark.internal.Logging
import org.apache.spark.util.{ShutdownHookManager, Utils}

/**
 * Where the Python workers of this JVM reach the driver: a Unix socket in a folder that only this user can enter. A
 * JSON line in, a JSON line out, passed on as it is to Coordinator; a thread for each connected worker.
 */
object WorkerPort extends Logging {
  // a Unix socket's path has room for about 108 bytes, and working folders of YARN are longer
  private val LongestDirectory = 80

  /** Path of the socket, opened at the first call; the same for all tasks, as workers are pooled by environment. */
  lazy val path: String = {
    val directory = privateDirectory()
    val socket = directory.resolve("port.sock")
    val server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)
    server.bind(UnixDomainSocketAddress.of(socket))
    Files.setPosixFilePermissions(socket, PosixFilePermissions.fromString("rw-------"))
    ShutdownHookManager.addShutdownHook(() => Utils.deleteRecursively(directory.toFile))
    start("spark-llm-port", () => while (true) {
      val worker = server.accept()
      start("spark-llm-port-worker", () => serve(worker))
    })
    socket.toString
  }

  private def privateDirectory(): Path = {
    // createTempDirectory gives all rights to the owner and none to others
    val made = Files.createTempDirectory("spark-llm-")
    if (made.toString.length <= LongestDirectory) made
    else Files.createTempDirectory(Paths.get("/tmp"), "spark-llm-")
  }

  private def serve(worker: SocketChannel): Unit =
    try {
      val lines = new BufferedReader(new InputStreamReader(Channels.newInputStream(worker), UTF_8))
      Iterator.continually(lines.readLine()).takeWhile(_ != null).foreach { line =>
        val reply = ByteBuffer.wrap((passOn(line) + "\n").getBytes(UTF_8))
        while (reply.hasRemaining) worker.write(reply)
      }
    } catch { case _: IOException => } // the worker has ended
    finally worker.close()

  private def passOn(line: String): String =
    try Coordinator.ask(line)
    catch {
      case NonFatal(e) =>
        logWarning("the driver did not answer a worker", e)
        Resources.write(Map("error" -> s"the driver did not answer: ${e.getMessage}"))
    }

  private def start(name: String, body: () => Unit): Unit = {
    val thread = new Thread(() => body(), name)
    thread.setDaemon(true)
    thread.start()
  }
}
