"""`python -m spark_llm.report FILE.json [FILE.html]`."""

import sys

from spark_llm.report.command import main

sys.exit(main())
