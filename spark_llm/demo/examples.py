"""What the demo asks besides the files of ``sql_examples``, so that each can be counted, compared and judged.

Texts only; ``app.py`` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """One file of ``sql_examples``.

    Attributes:
        file: its name without ``.sql``.
        instruction: the question it asks.
        field: the column, or SQL over columns, it is asked about.
        source: FROM and WHERE of the rows it is asked about, for counting distinct questions.
        truth: SQL of the right answer's text over ``truth_table`` AS t; None: not judged.
        truth_table: table with the right answers, joined by id.
    """

    file: str
    instruction: str
    field: str
    source: str
    truth: str | None = None
    truth_table: str | None = None

    def distinct_sql(self) -> str:
        """Rows and distinct questions."""
        return f"SELECT count(*) AS n, count(DISTINCT {self.field}) AS questions FROM {self.source}"

    def sample_sql(self, function: str, rows: int) -> str:
        """(id, answer) of the first ``rows`` rows, by ``llm`` or by the UDF of that name."""
        name = self.field.rsplit(".", maxsplit=1)[-1]
        call = (
            f"llm('{self.instruction}', {self.field})"
            if function == "llm"
            else f"{function}('{self.instruction}', to_json(struct({self.field} AS {name})))"
        )
        return f"SELECT id, {call} AS answer FROM (SELECT * FROM {self.source} ORDER BY id LIMIT {rows})"

    def accuracy_sql(self, rows: int) -> str:
        """Share of right answers among the first ``rows`` rows."""
        return (
            f"SELECT avg(IF(lower(a.answer) = lower({self.truth}), 1.0, 0.0)) AS accuracy "
            f"FROM ({self.sample_sql('llm', rows)}) a JOIN {self.truth_table} t ON a.id = t.id"
        )


SHOP = (
    Example(
        "shop_filter",
        "Is this review positive?",
        "text",
        "reviews WHERE city < 'M'",
        "IF(t.sentiment = 'positive', 'Yes', 'No')",
        "reviews_truth",
    ),
    Example(
        "shop_labels",
        "Choose the topic of the ticket: billing, delivery, defect, account, return.",
        "text",
        "tickets",
        "t.topic",
        "tickets_truth",
    ),
    Example(
        "shop_extract",
        "Which order number is named in the ticket?",
        "text",
        "tickets WHERE channel = 'email'",
        "CAST(t.order_id AS STRING)",
        "tickets_truth",
    ),
    Example("shop_struct", "Give topic and urgent as JSON.", "text", "tickets WHERE channel = 'phone'"),
    Example(
        "shop_join",
        "Which material is the product made of?",
        "description",
        "(SELECT r.id, p.description FROM reviews r JOIN products p ON p.id = r.product_id WHERE r.id < 600)",
    ),
)

REAL = {
    # used where they lie beside the checkout; the demo model was never shown their like
    "movies": "SELECT llm('Is this review positive?', struct(reviewcontent AS text), genres) AS answer, "
    "reviewtype, left(reviewcontent, 60) AS review FROM movies LIMIT 200",
    "products": "SELECT llm('Rate the review from 1 to 5.', struct(left(text, 400) AS text), product_title, "
    "return_type => 'INT') AS answer, rating, left(text, 60) AS review FROM products LIMIT 200",
    "posts": "SELECT llm('Give the first four words of the text.', struct(left(Text, 400) AS text)) "
    "AS answer, left(Text, 60) AS comment FROM posts LIMIT 200",
}
