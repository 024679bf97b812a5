"""A whole purchase against a running cluster: python3 sale.py CLUSTER HOST:PORT [CREDENTIAL]"""

import secrets
import sys

from doorbuster import Client, Refused


def main(cluster, address, credential=""):
    client = Client(cluster, [address], credential)
    product = secrets.randbits(63) + 1
    phone = {
        "product": product,
        "name": "Phone",
        "stock": 1,
        "price_minor": 99_900,
        "currency": "EUR",
        "limit_per_user": 0,
        "limit_per_reservation": 0,
        "ttl": 60_000,
        "max_life": 120_000,
        "payment_cap": 60_000,
        "opens_at": 0,
        "closes_at": 0,
        "late_payment": "retake_or_refund",
    }
    client.ask("create_product", **phone)
    buyer = {"product": product, "reservation": secrets.token_hex(16), "user": secrets.token_hex(16)}
    held = client.ask("reserve", **buyer, quantity=1, ttl=0)
    assert not held["replayed"] and held["reservation"]["state"] == "held"
    again = client.ask("reserve", **buyer, quantity=1, ttl=0)
    assert again["replayed"] and again["reservation"] == held["reservation"]
    late = {"product": product, "reservation": secrets.token_hex(16), "user": secrets.token_hex(16)}
    try:
        client.ask("reserve", **late, quantity=1, ttl=0)
        raise AssertionError("two buyers for one unit")
    except Refused as refused:
        assert refused.failure["failure"] == "all_held", refused.failure
    client.ask("begin_payment", **buyer, attempt=1)
    assert client.ask("confirm", **buyer)["reservation"]["state"] == "confirmed"
    assert client.ask("get_reservation", **buyer)["reservation"]["state"] == "confirmed"
    try:
        client.ask("reserve", **late, quantity=1, ttl=0)
        raise AssertionError("two buyers for one unit")
    except Refused as refused:
        assert refused.failure["failure"] == "sold_out", refused.failure
    sold = client.ask("get_product", product=product)["product"]
    assert (sold["available"], sold["held"], sold["sold"]) == (0, 0, 1), sold
    print("one unit, one buyer")


if __name__ == "__main__":
    main(*sys.argv[1:])
