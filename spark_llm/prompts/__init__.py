"""Rows to prompt text.

    instruction  "Is it about food?"         call, or a column
    fields       {"v":"Good pasta"}  {"v":5}  {}         one JSON text per field and row, from the JVM
            |  Renderer.form(order).user(instruction, texts)      one form per field order, made once
            |                                          VALUEs are cut out, NULL fields ({}) left out
            v
    system       Answer the instruction for the given row. Reply with the answer only.
    user         Is it about food?
                 {"review": "Good pasta", "stars": 5}
            |
    EngineRequest(system, user)

No JSON is parsed on the way: values are cut out of the JVM's text and names are encoded once per call.
"""

from spark_llm.conf_entries import SYSTEM_PROMPT
from spark_llm.prompts.render import Form, Renderer, prompt_hash, system_for

__all__ = ["SYSTEM_PROMPT", "Form", "Renderer", "prompt_hash", "system_for"]
