"""The demo's tables as Arrow: ``python -m spark_llm.demo.tables FOLDER`` writes Parquet.

``products`` (id) is joined by ``reviews.product_id`` and ``orders.product_id``;
``orders.id`` is the number that the texts of ``tickets`` name. The ``*_truth`` tables
hold the right answers under the same ids; questions are asked without them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.demo.shop import make_shop

if TYPE_CHECKING:
    import pyarrow as pa


def shop_tables(seed: int, rows: int) -> dict[str, pa.Table]:
    """Generate the tables that questions are asked about.

    Args:
        seed: Equal seeds and rows give equal tables.
        rows: Rows of ``reviews``, ``tickets`` and ``orders``, 1 to 5000; ``products``
            has a twentieth of that, between 5 and 250.

    Returns:
        Table name to table: ``products``, ``reviews``, ``tickets``, ``orders``.

    Raises:
        ValueError: If ``rows`` is out of range.
    """
    import pyarrow as pa

    shop = make_shop(seed, rows)
    products = pa.table(
        {
            "id": pa.array(range(1, len(shop.products) + 1), pa.int32()),
            "name": [product.name for product in shop.products],
            "description": [product.description for product in shop.products],
            "price": pa.array([product.price for product in shop.products], pa.int32()),
            "boxes": pa.array([stock.a for stock in shop.stock], pa.int32()),
            "per_box": pa.array([stock.b for stock in shop.stock], pa.int32()),
            "loose": pa.array([stock.c for stock in shop.stock], pa.int32()),
            "broken": pa.array([stock.d for stock in shop.stock], pa.int32()),
        }
    )
    reviews = pa.table(
        {
            "id": pa.array(range(1, rows + 1), pa.int32()),
            "product_id": pa.array([index + 1 for index, _ in shop.reviews], pa.int32()),
            "customer": [customer for customer, _ in shop.reviewers],
            "city": [city for _, city in shop.reviewers],
            "title": [review.title for _, review in shop.reviews],
            "text": [review.text for _, review in shop.reviews],
        }
    )
    tickets = pa.table(
        {
            "id": pa.array(range(1, rows + 1), pa.int32()),
            "city": [city for city, _ in shop.ticket_origin],
            "channel": [channel for _, channel in shop.ticket_origin],
            "text": [ticket.text for ticket in shop.tickets],
        }
    )
    orders = pa.table(
        {
            "id": pa.array([order.number for order in shop.orders], pa.int32()),
            "product_id": pa.array([order.product + 1 for order in shop.orders], pa.int32()),
            "customer": [order.customer for order in shop.orders],
            "city": [order.city for order in shop.orders],
            "quantity": pa.array([order.operands.a for order in shop.orders], pa.int32()),
            "price": pa.array([order.operands.b for order in shop.orders], pa.int32()),
            "shipping": pa.array([order.operands.c for order in shop.orders], pa.int32()),
            "discount": pa.array([order.operands.d for order in shop.orders], pa.int32()),
        }
    )
    return {"products": products, "reviews": reviews, "tickets": tickets, "orders": orders}


def shop_truth(seed: int, rows: int) -> dict[str, pa.Table]:
    """Generate the right answers about the rows of :func:`shop_tables`.

    Args:
        seed: As for :func:`shop_tables`.
        rows: As for :func:`shop_tables`.

    Returns:
        ``products_truth``, ``reviews_truth``, ``tickets_truth`` and ``orders_truth``,
        each with the ``id`` of its table.

    Raises:
        ValueError: If ``rows`` is out of range.
    """
    import pyarrow as pa

    shop = make_shop(seed, rows)
    ids = pa.array(range(1, rows + 1), pa.int32())
    products = pa.table(
        {
            "id": pa.array(range(1, len(shop.products) + 1), pa.int32()),
            "category": [product.category for product in shop.products],
            "material": [product.material for product in shop.products],
            "color": [product.color for product in shop.products],
            "in_stock": pa.array([stock.total for stock in shop.stock], pa.int32()),
        }
    )
    reviews = pa.table(
        {
            "id": ids,
            "sentiment": [review.mood for _, review in shop.reviews],
            "stars": pa.array([review.stars for _, review in shop.reviews], pa.int32()),
            "topic": [review.aspect for _, review in shop.reviews],
            "product": [review.product for _, review in shop.reviews],
        }
    )
    tickets = pa.table(
        {
            "id": ids,
            "topic": [ticket.topic for ticket in shop.tickets],
            "urgent": [ticket.urgent for ticket in shop.tickets],
            "order_id": pa.array([ticket.order for ticket in shop.tickets], pa.int32()),
            "customer": [ticket.customer for ticket in shop.tickets],
            "products": [list(ticket.products) for ticket in shop.tickets],
            "amount": pa.array([ticket.amount for ticket in shop.tickets], pa.int32()),
        }
    )
    orders = pa.table(
        {
            "id": pa.array([order.number for order in shop.orders], pa.int32()),
            "total": pa.array([order.operands.total for order in shop.orders], pa.int32()),
        }
    )
    found = {"products": products, "reviews": reviews, "tickets": tickets, "orders": orders}
    return {f"{name}_truth": table for name, table in found.items()}


def write_parquet(folder: Path, seed: int, rows: int, truth: bool = True) -> list[Path]:
    """Write the tables into ``folder``, one Parquet file each.

    Args:
        folder: Made where it does not exist; equal files in it are overwritten.
        seed: As for :func:`shop_tables`.
        rows: As for :func:`shop_tables`.
        truth: Whether to write the truth tables as well.

    Returns:
        The files written, ``folder / "reviews.parquet"`` and so on.

    Raises:
        ValueError: If ``rows`` is out of range.
    """
    import pyarrow.parquet as pq

    tables = shop_tables(seed, rows) | (shop_truth(seed, rows) if truth else {})
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path)
        paths.append(path)
    return paths


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=2000)
    arguments = parser.parse_args(argv)
    for path in write_parquet(arguments.folder, arguments.seed, arguments.rows):
        print(path)


if __name__ == "__main__":
    main()
