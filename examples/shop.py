"""Prints three columns of a made-up shop as CSV, for whoever has no table at hand: who, what, when.

`python examples/shop.py > my-shop/purchases.csv`. Every run prints the same rows: 300 customers, 40 articles
in four departments, and a customer who likes tea buys tea nine times out of ten.
"""

import csv
import random
import sys
from datetime import datetime, timedelta

DEPARTMENTS = ("tea", "book", "lamp", "seed")
N_CUSTOMERS = 300
ARTICLES_PER_DEPARTMENT = 10
N_PURCHASES = (6, 14)
LOYALTY = 0.9
OPENED = datetime(2025, 1, 1)
N_MINUTES = 90 * 24 * 60


def purchases() -> list[tuple[str, str, str]]:
    """Returns customer, article and moment of every purchase, in the order of time."""
    draw = random.Random(0)
    rows = []
    for number in range(N_CUSTOMERS):
        taste = DEPARTMENTS[number % len(DEPARTMENTS)]
        for _ in range(draw.randint(*N_PURCHASES)):
            department = taste if draw.random() < LOYALTY else draw.choice(DEPARTMENTS)
            article = f"{department}-{draw.randint(1, ARTICLES_PER_DEPARTMENT):02d}"
            bought_at = OPENED + timedelta(minutes=draw.randrange(N_MINUTES))
            rows.append((f"customer-{number + 1:03d}", article, bought_at.isoformat(sep=" ")))
    return sorted(rows, key=lambda row: row[2])


if __name__ == "__main__":
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("customer", "article", "bought_at"))
    table.writerows(purchases())
