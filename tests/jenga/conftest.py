import sys
from pathlib import Path

HERE = Path(__file__).parent
# The model of the pool is beside the tests; configs of well-known models are the benchmark's.
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "benchmarks")]
