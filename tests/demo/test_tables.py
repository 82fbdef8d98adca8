from __future__ import annotations

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from spark_llm.demo.catalog import CATEGORIES
from spark_llm.demo.reviews import ASPECTS
from spark_llm.demo.tables import shop_tables, shop_truth, write_parquet
from spark_llm.demo.tickets import TOPICS

COLUMNS = {
    "products": ["id", "name", "description", "price", "boxes", "per_box", "loose", "broken"],
    "reviews": ["id", "product_id", "customer", "city", "title", "text"],
    "tickets": ["id", "city", "channel", "text"],
    "orders": [
        "id",
        "product_id",
        "customer",
        "city",
        "quantity",
        "price",
        "shipping",
        "discount",
    ],
}


@pytest.fixture(scope="module")
def shop():
    return shop_tables(0, 400)


@pytest.fixture(scope="module")
def truth():
    return shop_truth(0, 400)


def test_columns_are_the_documented_ones(shop):
    assert {name: table.column_names for name, table in shop.items()} == COLUMNS


def test_sizes(shop):
    assert {name: table.num_rows for name, table in shop.items()} == {
        "products": 20,
        "reviews": 400,
        "tickets": 400,
        "orders": 400,
    }


def test_equal_seeds_give_equal_tables(shop):
    again = shop_tables(0, 400)
    assert all(again[name].equals(shop[name]) for name in shop)
    assert not shop_tables(1, 400)["reviews"].equals(shop["reviews"])


def test_truth_has_the_ids_of_its_table(shop, truth):
    for name, table in shop.items():
        assert table["id"].to_pylist() == truth[f"{name}_truth"]["id"].to_pylist()
        assert len(set(table["id"].to_pylist())) == table.num_rows


def test_products_repeat_over_reviews_and_orders(shop):
    ids = set(shop["products"]["id"].to_pylist())
    for name in ("reviews", "orders"):
        used = shop[name]["product_id"].to_pylist()
        assert set(used) <= ids
        assert len(used) > 5 * len(set(used))


def test_a_review_names_its_product(shop, truth):
    names = dict(zip(shop["products"]["id"].to_pylist(), shop["products"]["name"].to_pylist(), strict=True))
    rows = zip(shop["reviews"].to_pylist(), truth["reviews_truth"].to_pylist(), strict=True)
    for review, fact in rows:
        assert names[review["product_id"]] == fact["product"]
        assert fact["product"] in review["text"]
        assert fact["topic"] in ASPECTS
        mood = "positive" if fact["stars"] > 3 else "mixed" if fact["stars"] == 3 else "negative"
        assert fact["sentiment"] == mood


def test_a_ticket_names_an_order_its_customer_and_products(shop, truth):
    orders = {order["id"]: order for order in shop["orders"].to_pylist()}
    for ticket, fact in zip(shop["tickets"].to_pylist(), truth["tickets_truth"].to_pylist(), strict=True):
        assert str(fact["order_id"]) in ticket["text"]
        assert fact["customer"] in ticket["text"]
        assert orders[fact["order_id"]]["customer"] == fact["customer"]
        assert all(name in ticket["text"] for name in fact["products"])
        assert fact["topic"] in TOPICS
        if fact["amount"] is not None:
            assert f"{fact['amount']} euros" in ticket["text"]


def test_order_totals_and_stock(shop, truth):
    for order, fact in zip(shop["orders"].to_pylist(), truth["orders_truth"].to_pylist(), strict=True):
        total = order["quantity"] * order["price"] + order["shipping"] - order["discount"]
        assert fact["total"] == total
    rows = zip(shop["products"].to_pylist(), truth["products_truth"].to_pylist(), strict=True)
    for product, fact in rows:
        pieces = product["boxes"] * product["per_box"] + product["loose"] - product["broken"]
        assert fact["in_stock"] == pieces
        assert fact["category"] in CATEGORIES
        assert fact["material"] in product["description"]
        assert fact["color"] in product["description"]


def test_every_answer_occurs(truth):
    moods = pc.unique(truth["reviews_truth"]["sentiment"]).to_pylist()
    assert sorted(moods) == ["mixed", "negative", "positive"]
    assert pc.unique(truth["tickets_truth"]["urgent"]).to_pylist().count(True) == 1
    assert truth["tickets_truth"]["amount"].null_count > 0


def test_written_as_parquet(tmp_path, shop):
    paths = write_parquet(tmp_path, 0, 400)
    assert len(paths) == 8
    assert pq.read_table(tmp_path / "reviews.parquet").equals(shop["reviews"])


@pytest.mark.parametrize("rows", [0, 5001])
def test_rows_out_of_range(rows):
    with pytest.raises(ValueError, match="rows must lie between"):
        shop_tables(0, rows)
