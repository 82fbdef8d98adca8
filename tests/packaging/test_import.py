import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "vllm", "pyspark", "pandas", "pyarrow", "numpy", "httpx", "transformers")


@pytest.mark.parametrize(
    "module", ["spark_llm", "spark_llm.cli", "spark_llm.catalyst.build", "spark_llm.conf"]
)
def test_importing_loads_nothing_heavy(module):
    code = f"import json, sys; import {module}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & set(HEAVY)


def test_the_jar_is_found_without_importing_spark():
    code = (
        "import sys; from spark_llm.catalyst.spark import find_spark; find_spark(); "
        "print('pyspark' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
