"""Checks doorbuster.py against the golden vectors: python3 check_vectors.py FOLDER"""

import json
import pathlib
import sys

import doorbuster


def check(vector):
    kind, value, data = vector["frame"], vector["value"], bytes.fromhex(vector["bytes"])
    frame_kind, content = data[5:6], data[16:]
    if kind == "request":
        return doorbuster.encode_request(value), data
    if kind == "requests":
        return doorbuster.encode_requests(value), data
    if kind == "hello":
        return doorbuster.encode_hello(value), data
    if kind == "answer":
        return doorbuster.decode_answer(int.from_bytes(data[8:16], "little"), content), value
    if kind == "answers":
        return [doorbuster.decode_answer(*item) for item in doorbuster.split_batch(content)], value
    if kind == "welcome":
        return doorbuster.decode_welcome(frame_kind[0], content), value
    if kind == "shard_of":
        return [[product, shards, doorbuster.shard_of(product, shards)] for product, shards, _ in value], value
    if kind in ("malformed", "broken"):  # for servers
        return None, None
    raise ValueError(f"unknown kind of vector: {kind}")


def main(folder):
    files, wrong = sorted(pathlib.Path(folder).glob("*.json")), 0
    for file in files:
        found, expected = check(json.loads(file.read_text(encoding="utf-8")))
        if found != expected:
            wrong += 1
            print(f"{file.name}:\n  found    {found!r}\n  expected {expected!r}")
    print(f"{len(files)} vectors, {wrong} wrong")
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
