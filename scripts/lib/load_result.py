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


def median_ms(path):
    times = load(path)["metrics"]["end_to_end"]["intended"]
    return times["p50_ns"] / 1e6


def summary(path):
    run = load(path)
    counts = run["counts"]
    errors = counts["errors"]
    line = (
        f"{counts['intended']} requests, {counts['completed']} answered, "
        f"{sum(errors.values())} errors {errors or ''}"
    )
    times = run["metrics"].get("end_to_end", {}).get("intended")
    if times:
        line += f", p50 {times['p50_ns'] / 1e6:.1f} ms, p99 {times['p99_ns'] / 1e6:.1f} ms"
    return line


def refused(path, status):
    errors = load(path)["counts"]["errors"]
    return sum(count for name, count in errors.items() if status in name)


def ratio(path, other):
    return f"{median_ms(path) / median_ms(other):.3f}"


WAYS = {
    "summary": summary,
    "ok": lambda path: load(path)["counts"]["completed"],
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
