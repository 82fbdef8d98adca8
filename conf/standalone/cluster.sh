#!/usr/bin/env bash
# A Spark standalone cluster on this one machine, to try things out: a master and two workers.
#
#   conf/standalone/cluster.sh start     writes spark-defaults.conf, starts, waits until all workers are there
#   conf/standalone/cluster.sh stop      ends everything, executors included
#
# Settings, by environment:
#   CLUSTER_DIR      build/standalone    logs, process ids, the filled-in spark-defaults.conf
#   CLUSTER_PORT     7077                of the master, on 127.0.0.1 only
#   CLUSTER_WORKERS  2                   each with one core and 1 GB
#   PYSPARK_PYTHON   python3             interpreter of the Python workers
#   PYSPARK_DRIVER_PYTHON                that of the application; PYSPARK_PYTHON, if not set
#   SPARK_HOME       that of pyspark     where Spark is installed
set -euo pipefail

conf=$(cd "$(dirname "$0")/.." && pwd)
dir=${CLUSTER_DIR:-build/standalone}
port=${CLUSTER_PORT:-7077}
workers=${CLUSTER_WORKERS:-2}
master=spark://127.0.0.1:$port

say() { echo "cluster: $*"; }
alive() { kill -0 "$1" 2>/dev/null; }
# A file with a process id may be older than the last boot.
ours() { ps -p "$1" -o args= | grep -q 'org.apache.spark.deploy'; }

# launch NAME CLASS ARGUMENT...: the process is the leader of its own session, so that a closed terminal ends nothing.
launch() {
  local name=$1
  shift
  SPARK_CONF_DIR=$dir SPARK_HOME=$home setsid "$home/bin/spark-class" "$@" >"$dir/$name.log" 2>&1 </dev/null &
  echo $! >"$dir/$name.pid"
}

# await NAME TEXT: until the log of NAME says TEXT.
await() {
  local tries=0
  until grep -q "$2" "$dir/$1.log" 2>/dev/null; do
    if ! alive "$(cat "$dir/$1.pid")" || [ $((tries += 1)) -gt 600 ]; then
      say "$1 did not start; the end of $dir/$1.log:"
      tail -n 15 "$dir/$1.log"
      stop
      exit 1
    fi
    sleep 0.2
  done
}

start() {
  for pid in "$dir"/*.pid; do
    if [ -e "$pid" ] && ours "$(cat "$pid")"; then
      say "runs already in $dir; stop it first, or set CLUSTER_DIR and CLUSTER_PORT"
      exit 1
    fi
  done
  python=$(command -v "${PYSPARK_PYTHON:-python3}") || { say "no interpreter ${PYSPARK_PYTHON:-python3}"; exit 1; }
  driver=$(command -v "${PYSPARK_DRIVER_PYTHON:-$python}")
  home=${SPARK_HOME:-$("$python" -c 'import pyspark; print(pyspark.__path__[0])')}
  jar=$(spark-llm jar)
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  chmod 700 "$dir"
  sed -e "s|@MASTER@|$master|" -e "s|@JAR@|$jar|" -e "s|@PYTHON@|$python|" -e "s|@DRIVER@|$driver|" \
    "$conf/spark-defaults.conf.template" >"$dir/spark-defaults.conf"

  launch master org.apache.spark.deploy.master.Master --host 127.0.0.1 --port "$port" --webui-port 0
  await master "New state: ALIVE"
  for number in $(seq "$workers"); do
    launch "worker-$number" org.apache.spark.deploy.worker.Worker "$master" --host 127.0.0.1 --webui-port 0 \
      --cores 1 --memory 1g --work-dir "$dir/work-$number"
  done
  for number in $(seq "$workers"); do
    await "worker-$number" "Successfully registered with master"
  done
  say "$master has $workers workers; its settings are in $dir/spark-defaults.conf"
}

stop() {
  local pid file
  # Workers first: they end their executors.
  for file in "$dir"/worker-*.pid "$dir/master.pid"; do
    [ -e "$file" ] || continue
    pid=$(cat "$file")
    if ours "$pid"; then
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 100); do
        alive "$pid" || break
        sleep 0.1
      done
      if alive "$pid"; then kill -9 "$pid" 2>/dev/null || true; fi
    fi
    rm -f "$file"
  done
  say "stopped"
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  *) say "usage: $0 start|stop"; exit 2 ;;
esac
