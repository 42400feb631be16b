#!/usr/bin/env python3
"""Check the licence and the source of every crate in Cargo.lock against deny.toml.

It stands in for `cargo deny check bans licenses sources` on machines without cargo-deny: the same
file, the same verdicts for what that file uses. It reads `cargo metadata` on standard input.
"""

import collections
import json
import re
import sys
import tomllib

TOKEN = re.compile(r"\s*(\(|\)|[A-Za-z0-9.+-]+)")


def satisfied(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met by the `allowed` licences (AND binds before OR)."""
    tokens = TOKEN.findall(expression.replace("/", " OR "))
    position = 0

    def peek() -> str | None:
        return tokens[position] if position < len(tokens) else None

    def take() -> str:
        nonlocal position
        position += 1
        return tokens[position - 1]

    def one() -> bool:
        token = take()
        if token == "(":
            value = any_of()
            take()  # the closing parenthesis
            return value
        name = token.removesuffix("+")
        if peek() == "WITH":
            take()
            name = f"{name} WITH {take()}"
        return name in allowed

    def all_of() -> bool:
        value = one()
        while peek() == "AND":
            take()
            value = one() and value
        return value

    def any_of() -> bool:
        value = all_of()
        while peek() == "OR":
            take()
            value = all_of() or value
        return value

    return any_of()


def main() -> int:
    with open(sys.argv[1], "rb") as file:
        rules = tomllib.load(file)
    packages = json.load(sys.stdin)["packages"]
    allow = set(rules["licenses"]["allow"])
    exceptions = {e["crate"]: set(e["allow"]) for e in rules["licenses"].get("exceptions", [])}
    banned = {b["crate"]: b["reason"] for b in rules["bans"]["deny"]}
    failures, versions = [], collections.defaultdict(set)
    for package in packages:
        name, licence, source = package["name"], package["license"], package["source"]
        versions[name].add(package["version"])
        if name in banned:
            failures.append(f"{name}: banned: {banned[name]}")
        if source is not None and not source.startswith("registry+"):
            failures.append(f"{name}: comes from {source}, not from the registry")
        if not satisfied(licence or "NONE", allow | exceptions.get(name, set())):
            failures.append(f"{name}: licence {licence!r} is not allowed")
    sources = {p["source"] for p in packages if p["source"]}
    if len(sources) > 1:
        failures.append(f"more than one registry: {sorted(sources)}")
    for name in sorted(exceptions.keys() - versions.keys()):
        failures.append(f"{name}: an exception in deny.toml that nothing uses")
    twice = [name for name, found in versions.items() if len(found) > 1]
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"   {len(packages)} crates, {len(twice)} in two versions: {', '.join(sorted(twice))}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
