"""A Doorbuster client in plain Python, written from PROTOCOL.md alone.

One connection a node, one request at a time: enough for scripts and for reading along. Section numbers
are those of PROTOCOL.md.
"""

import socket
import struct
import time

# --- section 1: notation ---------------------------------------------------------------------------


class Reader:
    """Reads little-endian values from the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def u8(self):
        return self.number(1)

    def u16(self):
        return self.number(2)

    def u32(self):
        return self.number(4)

    def u64(self):
        return self.number(8)

    def id128(self):
        return f"{self.number(16):032x}"

    def flag(self):
        return {0: False, 1: True}[self.u8()]

    def bytes(self):
        return self.take(self.u32())

    def text(self):
        return self.bytes().decode("utf-8")

    def list(self, read):
        return [read() for _ in range(self.u32())]

    def end(self):
        if self.at != len(self.data):
            raise ValueError(f"{len(self.data) - self.at} bytes left over")


def id128(text):
    """A 128-bit id from 32 hex digits, as it travels."""
    return int(text, 16).to_bytes(16, "little")


def counted(data):
    return struct.pack("<I", len(data)) + data


# --- protobuf --------------------------------------------------------------------------------------


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(*fields):
    """A length and a protobuf message of (number, value); values are int or bytes, defaults are left out."""
    out = b""
    for number, value in fields:
        if isinstance(value, bytes) and value:
            out += varint(number << 3 | 2) + varint(len(value)) + value
        elif isinstance(value, int) and value:
            out += varint(number << 3) + varint(value)
    return counted(out)


def zigzag(number):
    return (number << 1) ^ (number >> 63)


def fields(data):
    """The fields of a protobuf message by number; of a repeated one, the last."""
    reader, found = Reader(data), {}

    def read_varint():
        number = shift = 0
        while True:
            byte = reader.u8()
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while reader.at < len(data):
        key = read_varint()
        if key & 7 == 0:
            value = read_varint()
        elif key & 7 == 1:
            value = reader.u64()
        elif key & 7 == 2:
            value = reader.take(read_varint())
        elif key & 7 == 5:
            value = reader.u32()
        else:
            raise ValueError("no protobuf")
        found[key >> 3] = value
    return found


# --- sections 2 and 3: frames and handshake ----------------------------------------------------------

HELLO, WELCOME, REFUSED, REQUEST, REQUESTS, ANSWER, ANSWERS = 1, 2, 3, 4, 5, 6, 7


def frame(version, kind, request_id, content):
    return struct.pack("<IBBHQ", 16 + len(content), version, kind, 0, request_id) + content


def encode_hello(hello):
    low, high = hello["versions"]
    content = b"DOORBUST" + bytes([low, high])
    for field in ("cluster", "credential", "client"):
        content += counted(hello[field].encode())
    return frame(0, HELLO, 0, content)


def decode_shard_map(reader):
    return {
        "leaders": reader.list(reader.u16),
        "nodes": reader.list(lambda: {"node": reader.u16(), "address": reader.text()}),
    }


def decode_welcome(kind, content):
    reader = Reader(content)
    if kind == REFUSED:
        return decode_failure(reader.u16(), reader)
    welcome = {"version": reader.u8(), "cluster": reader.text(), "node": reader.u16()}
    for limit in ("max_frame_bytes", "max_batch_requests", "max_in_flight"):
        welcome[limit] = reader.u32()
    welcome.update(decode_shard_map(reader))
    reader.end()
    return welcome


def split_batch(content):
    """(request id, content) of each item."""
    reader = Reader(content)
    while reader.at < len(content):
        length, request_id = reader.u32(), reader.u64()
        yield request_id, reader.take(length)


# --- section 4: routing ------------------------------------------------------------------------------


def shard_of(product, shards):
    wrap = (1 << 64) - 1
    z = (product + 0x9E3779B97F4A7C15) & wrap
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & wrap
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & wrap
    return (z ^ (z >> 31)) % shards


# --- section 5: requests -----------------------------------------------------------------------------


def target(f):
    return struct.pack("<Q", f["product"]) + id128(f["reservation"]) + id128(f["user"])


def payment(f):
    return target(f) + struct.pack("<H", f["attempt"])


def spec(f):
    return message(
        (1, f["product"]),
        (2, f["name"].encode()),
        (3, f["stock"]),
        (4, f["price_minor"]),
        (5, f["currency"].encode()),
        (6, f["limit_per_user"]),
        (7, f["limit_per_reservation"]),
        (8, f["ttl"]),
        (9, f["max_life"]),
        (10, f["payment_cap"]),
        (11, f["opens_at"]),
        (12, f["closes_at"]),
        (13, ["retake_or_refund", "always_refund"].index(f["late_payment"])),
    )


def operation(f, *more):
    return message((1, id128(f["operation"])), (2, f["product"]), *more)


def query(f):
    """The message of all queries, of the fields that are given."""
    after = id128(f["reservation"]) if int(f.get("reservation", "0"), 16) else b""
    return message(
        (1, f.get("shard", 0)),
        (2, f.get("product", 0)),
        (3, after),
        (4, f.get("position", 0)),
        (5, f.get("limit", 0)),
    )


def unsettled(f):
    kind = ["payments", "refunds"].index(f["of"]) + 1
    place = struct.pack("<Q", f["changed_at"]) + id128(f["reservation"])
    return struct.pack("<HB", f["shard"], kind) + place + struct.pack("<I", f["limit"])


REASONS = [None, "customer", "shop", "fraud", "duplicate"]


def cancel(f):
    how = f["how"]
    return target(f) + bytes([REASONS.index(how["reason"]) + (8 if how["return_stock"] else 0)])


REQUEST_BODIES = {
    "reserve": (1, lambda f: target(f) + struct.pack("<IQ", f["quantity"], f["ttl"])),
    "begin_payment": (2, payment),
    "payment_failed": (3, payment),
    "confirm": (4, target),
    "release": (5, target),
    "extend": (6, lambda f: target(f) + id128(f["operation"]) + struct.pack("<Q", f["by"])),
    "late_payment": (7, lambda f: target(f) + struct.pack("<I", f["quantity"])),
    "refund_done": (8, target),
    "cancel": (9, cancel),
    "create_product": (16, spec),
    "adjust_stock": (17, lambda f: operation(f, (3, zigzag(f["delta"])))),
    "set_stock": (18, lambda f: operation(f, (3, f["expected"]), (4, f["stock"]))),
    "change_sale": (19, lambda f: operation(f, (3, ["pause", "resume", "close"].index(f["action"]) + 1))),
    "acknowledge_feed": (20, query),
    "get_reservation": (64, target),
    "find_reservation": (65, lambda f: struct.pack("<H", f["shard"]) + id128(f["reservation"])),
    "list_unsettled": (66, unsettled),
    "get_product": (80, query),
    "list_products": (81, query),
    "list_reservations": (82, query),
    "read_feed": (83, query),
    "audit": (84, query),
    "status": (85, query),
    "shard_map": (86, query),
}


def request_content(request):
    opcode, body = REQUEST_BODIES[request["op"]]
    return struct.pack("<IB", request["wait"], opcode) + body(request)


def encode_request(request):
    return frame(2, REQUEST, request["id"], request_content(request))


def encode_requests(requests):
    items = b""
    for request in requests:
        content = request_content(request)
        items += struct.pack("<IQ", len(content), request["id"]) + content
    return frame(2, REQUESTS, 0, items)


# --- sections 6 and 7: answers -----------------------------------------------------------------------

STATES = [None, "held", "paying", "confirmed", "released", "expired", "refund_due", "refunded", "cancelled"]


def decode_answer(request_id, content):
    reader = Reader(content)
    code = reader.u16()
    answer = decode_failure(code, reader) if code else decode_reply(reader)
    reader.end()
    return {"id": request_id, **answer}


def decode_reply(reader):
    return REPLIES[reader.u8()](reader)


def cancellation(reader):
    how = reader.u8()
    return {"reason": REASONS[how % 8], "return_stock": how >= 8} if how else None


def decode_reservation(reader):
    return {
        "product": reader.u64(),
        "reservation": reader.id128(),
        "user": reader.id128(),
        "quantity": reader.u32(),
        "state": STATES[reader.u8()],
        "late": reader.flag(),
        "cancelled": cancellation(reader),
        "payment_attempts": reader.u16(),
        "created_at": reader.u64(),
        "first_expires_at": reader.u64(),
        "expires_at": reader.u64(),
        "changed_at": reader.u64(),
    }


def reservation_reply(reader):
    head = {"reply": "reservation", "replayed": reader.flag(), "time": reader.u64()}
    return {**head, "reservation": decode_reservation(reader)}


def decode_spec(data):
    f = fields(data)
    names = (
        "product name stock price_minor currency limit_per_user limit_per_reservation "
        "ttl max_life payment_cap opens_at closes_at late_payment"
    )
    decoded = {name: f.get(number, 0) for number, name in enumerate(names.split(), 1)}
    for name in ("name", "currency"):
        decoded[name] = (decoded[name] or b"").decode()
    decoded["late_payment"] = ["retake_or_refund", "always_refund"][decoded["late_payment"]]
    return decoded


def decode_product(data):
    f = fields(data)
    return {
        "spec": decode_spec(f[1]),
        "sale": [None, "active", "paused", "closed"][f[2]],
        "available": f.get(3, 0),
        "held": f.get(4, 0),
        "sold": f.get(5, 0),
        "next_expiry": f.get(6, 0),
    }


def product_reply(reader):
    f = fields(reader.bytes())
    return {
        "reply": "product",
        "replayed": bool(f.get(1, 0)),
        "time": f.get(2, 0),
        "product": decode_product(f[3]),
    }


def decode_feed_entry(reader):
    return {
        "position": reader.u64(),
        "kind": [None, "confirmed", "refund_due", "refunded", "cancelled"][reader.u8()],
        "late": reader.flag(),
        "cancelled": cancellation(reader),
        "product": reader.u64(),
        "reservation": reader.id128(),
        "user": reader.id128(),
        "quantity": reader.u32(),
        "price_minor": reader.u64(),
        "currency": reader.take(3).decode(),
        "at": reader.u64(),
    }


def feed_reply(reader):
    page = {"reply": "feed", "acknowledged": reader.u64(), "last": reader.u64()}
    return {**page, "entries": reader.list(lambda: decode_feed_entry(reader))}


def unsettled_reply(reader):
    page = {"reply": "unsettled", "time": reader.u64(), "total": reader.u64()}
    return {**page, "reservations": reader.list(lambda: decode_reservation(reader))}


def audit_reply(reader):
    f = fields(reader.bytes())
    names = ("shard", "index", "state_hash", "recounted_hash", "confirmed")
    report = {name: f.get(number, 0) for number, name in enumerate(names, 1)}

    def count():
        units = {"product": reader.u64()}
        return {**units, **{name: reader.u32() for name in ("stock", "available", "held", "sold")}}

    return {"reply": "audit", **report, "products": reader.list(count), "problems": reader.list(reader.text)}


def status_reply(reader):
    f = fields(reader.bytes())

    def peer():
        p = fields(reader.bytes())
        offset = p.get(3, 0)
        return {
            "node": p.get(1, 0),
            "connected": bool(p.get(2, 0)),
            "clock_offset": (offset >> 1) ^ -(offset & 1),
        }

    def shard():
        s = fields(reader.bytes())
        names = "shard term leader leading commit applied first state_hash time diverged"
        decoded = {name: s.get(number, 0) for number, name in enumerate(names.split(), 1)}
        return {**decoded, "leading": bool(decoded["leading"]), "diverged": bool(decoded["diverged"])}

    return {
        "reply": "status",
        "node": f.get(1, 0),
        "version": f.get(2, b"").decode(),
        "uptime": f.get(3, 0),
        "durable": bool(f.get(4, 0)),
        "wall_clock": f.get(5, 0),
        "log_bytes": f.get(6, 0),
        "peers": reader.list(peer),
        "shards": reader.list(shard),
    }


REPLIES = {
    128: reservation_reply,
    129: product_reply,
    130: lambda r: {"reply": "products", "products": r.list(lambda: decode_product(r.bytes()))},
    131: lambda r: {"reply": "reservations", "reservations": r.list(lambda: decode_reservation(r))},
    132: feed_reply,
    133: lambda r: {"reply": "feed_acknowledged", "position": r.u64()},
    134: audit_reply,
    135: status_reply,
    136: lambda r: {"reply": "shard_map", **decode_shard_map(r)},
    138: unsettled_reply,
}

# number: (name, [(value, how to read it)], retry)
U16, U32, U64 = Reader.u16, Reader.u32, Reader.u64
ARGUMENTS = [None, "id", "quantity", "name", "price", "duration", "schedule", "delta"]
FAILURES = {
    1: ("sold_out", [], False),
    2: ("all_held", [("next_expiry", U64)], True),
    3: ("insufficient_stock", [("available", U32)], True),
    4: ("limit_reached", [("limit", U32), ("used", U32)], False),
    5: ("quantity_too_large", [("limit", U32)], False),
    6: ("not_open", [("opens_at", U64)], True),
    7: ("closed", [], False),
    8: ("paused", [], True),
    9: ("unknown_product", [], False),
    10: ("unknown_reservation", [], False),
    11: ("conflicting_retry", [], False),
    12: ("reservation_expired", [("expired_at", U64)], False),
    13: ("reservation_released", [], False),
    14: ("already_confirmed", [], False),
    15: ("payment_in_progress", [], True),
    16: ("payment_not_in_progress", [("attempts", U16)], False),
    17: ("refunding", [], False),
    18: ("no_refund_due", [], False),
    19: ("life_limit_reached", [("latest", U64)], False),
    20: ("stock_below_committed", [("held", U32), ("sold", U32)], False),
    21: ("stock_mismatch", [("stock", U32)], False),
    22: ("stock_too_large", [("limit", U32)], False),
    23: ("product_exists", [], False),
    24: ("capacity_reached", [("limit", U64)], True),
    25: ("invalid_argument", [("argument", lambda r: ARGUMENTS[r.u8()])], False),
    26: ("feed_position_unknown", [], False),
    27: ("not_confirmed", [], False),
    28: ("reservation_cancelled", [], False),
    64: ("not_leader", [("leader", U16)], True),
    65: ("busy", [("retry_after", U64)], True),
    66: ("outcome_unknown", [], True),
    67: ("waited_too_long", [], True),
    68: ("shutting_down", [], True),
    69: ("diverged", [], True),
    70: ("malformed", [("detail", Reader.text)], False),
    71: ("unauthorized", [], False),
    72: ("wrong_cluster", [], False),
    73: ("unsupported_version", [], False),
}


def decode_failure(code, reader):
    name, values, _ = FAILURES[code]
    return {"failure": name, **{value: read(reader) for value, read in values}}


# --- the client --------------------------------------------------------------------------------------


class Refused(Exception):
    """The inventory, or the server, says no; nothing changed."""

    def __init__(self, failure):
        super().__init__(failure["failure"])
        self.failure = failure


class Unanswered(Exception):
    """No answer within the deadline. Of a command: it may or may not have been done; ask again with the same id."""


class Connection:
    def __init__(self, address, hello, timeout=2.0):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next_id = 1
        self.socket.sendall(encode_hello(hello))
        kind, _, content = self.read_frame()
        self.welcome = decode_welcome(kind, content)
        if "failure" in self.welcome:
            raise Refused(self.welcome)

    def read_exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError("closed by the server")
            data += part
        return data

    def read_frame(self):
        length, _, kind, _, request_id = struct.unpack("<IBBHQ", self.read_exactly(16))
        if not 16 <= length <= 4 << 20:
            raise ConnectionError(f"a frame of {length} bytes")
        return kind, request_id, self.read_exactly(length - 16)

    def ask(self, request, timeout):
        request = {**request, "id": self.next_id, "wait": max(1, min(60_000, int(timeout * 1000)))}
        self.next_id += 1
        self.socket.settimeout(timeout)
        self.socket.sendall(encode_request(request))
        while True:
            kind, request_id, content = self.read_frame()
            items = split_batch(content) if kind == ANSWERS else [(request_id, content)]
            for answered, item in items:
                if answered == request["id"]:  # others are answers that came too late
                    return decode_answer(answered, item)


class Client:
    def __init__(self, cluster, addresses, credential="", deadline=5.0):
        self.hello = {"versions": [2, 2], "cluster": cluster, "credential": credential, "client": "python"}
        self.seeds, self.deadline = addresses, deadline
        self.connections, self.leaders, self.nodes = {}, [], {}
        self.ask_around()

    def learn(self, shard_map):
        self.leaders = shard_map["leaders"]
        self.nodes.update({node["node"]: node["address"] for node in shard_map["nodes"]})

    def ask_around(self):
        """Learns the map of shards from whoever answers."""
        for address in [*self.nodes.values(), *self.seeds]:
            try:
                connection = Connection(address, self.hello)
            except OSError:
                continue
            self.connections[connection.welcome["node"]] = connection
            self.learn(connection.welcome)
            if all(self.leaders):
                return
        if not self.leaders:
            raise ConnectionError("no node answers")

    def leader_of(self, product):
        return self.leaders[shard_of(product, len(self.leaders))]

    def connection(self, node):
        if node not in self.connections:
            self.connections[node] = Connection(self.nodes[node], self.hello)
        return self.connections[node]

    def ask(self, op, **values):
        """Asks the product's leader, again with the same values until there is an answer or the deadline is over."""
        until = time.monotonic() + self.deadline
        while time.monotonic() < until:
            node = self.leader_of(values["product"])
            if not node:
                time.sleep(0.05)
                self.ask_around()
                continue
            try:
                answer = self.connection(node).ask({"op": op, **values}, until - time.monotonic())
            except (OSError, ValueError):
                self.connections.pop(node, None)
                time.sleep(0.05)
                self.ask_around()
                continue
            if answer.get("failure") == "not_leader" and answer["leader"]:
                self.leaders[shard_of(values["product"], len(self.leaders))] = answer["leader"]
            elif answer.get("failure") in ("not_leader", "outcome_unknown", "shutting_down", "diverged"):
                time.sleep(0.05)
                self.ask_around()
            elif answer.get("failure") in ("busy", "waited_too_long"):
                time.sleep(answer.get("retry_after", 50) / 1000)
            elif "failure" in answer:
                raise Refused(answer)
            else:
                return answer
        raise Unanswered(op)
