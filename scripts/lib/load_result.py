#!/usr/bin/env python3
"""Reads results for scripts/load-test: one number or word on standard output.

    load_result.py summary RUN.json           a line for people
    load_result.py ok RUN.json                requests that were answered well
    load_result.py refused RUN.json STATUS    requests that were answered with that status
    load_result.py ratio A.json B.json        median latency of A over that of B
    load_result.py ids|completed|decisions|open SESSIONS.jsonl
                                              of `penstock-recorder sessions --json` ("-": stdin)
"""
import json
import sys


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def lines(path):
    file = sys.stdin if path == "-" else open(path, encoding="utf-8")
    return [json.loads(line) for line in file if line.strip()]


def summary(path):
    run = load(path)
    latency = run["latency_us"]
    errors = sum(run["errors"].values())
    return (
        f"{run['asked']} requests, {run['ok']} answered, {errors} errors {run['errors'] or ''}, "
        f"{run['not_sent']} not sent, p50 {latency['p50'] / 1000:.1f} ms, "
        f"p99 {latency['p99'] / 1000:.1f} ms"
    )


def refused(path, status):
    errors = load(path)["errors"]
    return sum(count for name, count in errors.items() if status in name)


def ratio(path, other):
    return f"{load(path)['latency_us']['p50'] / load(other)['latency_us']['p50']:.3f}"


WAYS = {
    "summary": summary,
    "ok": lambda path: load(path)["ok"],
    "refused": refused,
    "ratio": ratio,
    "completed": lambda path: sum(it["outcome"] == "completed" for it in lines(path)),
    "decisions": lambda path: sum(it["decisions"] for it in lines(path)),
    "ids": lambda path: "\n".join(it["session"] for it in lines(path)),
    "open": lambda path: sum(it["ended"] is None for it in lines(path)),
}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in WAYS:
        sys.exit(__doc__)
    print(WAYS[sys.argv[1]](*sys.argv[2:]))
