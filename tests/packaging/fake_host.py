"""A machine made of words, for the doctor to look at."""

from pathlib import Path

from spark_llm.catalyst.java import Java, JavaNotFoundError


class FakeHost:
    """Everything fine with the fake engine; tests spoil one thing each."""

    def __init__(self):
        self.environ = {}
        self.versions = {"pyspark-llm": "0.1.0", "pyspark": "4.3.0", "pyarrow": "26.0.1", "pandas": "2.3.3"}
        self.found_java = Java(Path("/opt/java"), "17.0.15", "PATH")
        self.manifest = {"Spark-Version": "4.3.0"}
        self.runs = {"spark_llm.doctor.session": (0, '{"function": "llm", "answer": "x"}\n', "")}
        self.answer = (200, {"data": [{"id": "small"}]})
        self.files = set()
        self.free = 8 << 30
        self.bfloat16 = True
        self.asked = []

    def python(self):
        return "3.11.7", "/opt/python"

    def distribution(self, name):
        return self.versions.get(name)

    def requirement(self, name):
        wanted = {"pyspark": "<4.4,>=4.1", "pyarrow": ">=18", "pandas": "<3,>=2.2"}
        return wanted.get(name, "==0.32.0")

    def java(self):
        if self.found_java is None:
            raise JavaNotFoundError("Java 17 or newer is needed: nothing is there. To go on, install one.")
        return self.found_java

    def jar(self):
        if isinstance(self.manifest, Exception):
            raise self.manifest
        return Path("/opt/llm.jar"), self.manifest

    def run(self, arguments, *, timeout_s, text=""):
        self.asked.append((list(arguments), text))
        return self.runs.get(arguments[1], self.runs.get(arguments[0], (1, "", "nothing prepared")))

    def get_json(self, url, headers, *, timeout_s):
        self.asked.append((url, headers))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def temporary_folder(self):
        return "/tmp", self.free

    def has_bfloat16(self):
        return self.bfloat16

    def is_file(self, path):
        return str(path) in self.files
