#!/usr/bin/env python3
"""Reads results for scripts/load-test: one number or word on standard output.

    load_result.py summary RUN.json           a line for people
    load_result.py ok RUN.json                requests that were answered well
    load_result.py masks RUN.json             masks that stood in answers
    load_result.py refused RUN.json STATUS    requests that were answered with that status
    load_result.py ratio A.json B.json        median latency of A over that of B
    load_result.py completed|decisions|open SESSIONS.jsonl
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


def middle(run):
    """Median of the whole time of a good answer, in nanoseconds, from its intended start."""
    times = run["metrics"]["end_to_end"]
    return (times.get("intended") or times["sent"])["p50_ns"]


def summary(path):
    run = load(path)
    counts = run["counts"]
    took = f", p50 {middle(run) / 1e6:.1f} ms" if counts["completed"] else ""
    errors = ", ".join(f"{count} {name}" for name, count in counts["errors"].items())
    return (
        f"{counts['intended']} requests, {counts['completed']} answered, "
        f"errors: {errors or 'none'}, {counts['altered']} altered{took}"
    )


def refused(path, status):
    return load(path)["counts"]["errors"].get(f"status_{status}", 0)


def ratio(path, other):
    return f"{middle(load(path)) / middle(load(other)):.3f}"


WAYS = {
    "summary": summary,
    "ok": lambda path: load(path)["counts"]["completed"],
    "masks": lambda path: load(path)["counts"]["masked_spans"],
    "refused": refused,
    "ratio": ratio,
    "completed": lambda path: sum(it["outcome"] == "completed" for it in lines(path)),
    "decisions": lambda path: sum(it["decisions"] for it in lines(path)),
    "open": lambda path: sum(it["ended"] is None for it in lines(path)),
}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in WAYS:
        sys.exit(__doc__)
    print(WAYS[sys.argv[1]](*sys.argv[2:]))
