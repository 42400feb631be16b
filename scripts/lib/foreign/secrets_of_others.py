"""Credentials from the tests of other scanners, and values made from their expressions."""

import ast
import gzip
import json
import random
import re
import tomllib

import expressions
from lines import UNDECIDED, Lines

# Reasons to refuse a value that hold for one vendor's format alone: a key that is a sign too short
# for it, or of which the test says only that it is not that vendor's, is still something behind a
# key's name.
NEAR_MISS = re.compile(
    r"(?i)^(?!.*(?:placeholder|example)).*(?:length|short|long|minimum|truncat|too few|fewer"
    r"|companion|alone|missing|continuation|extend|trailing|suffix|extra|checksum"
    r"|\b(?:below|above|required|exact)\b|only \d+|\banchor|attribut|does not identify"
    r"|unscoped|different detector|scope prefix|case-insensitive)"
)

# Values made from each foreign expression.
SAMPLES = 3


def contracts(folder):
    """keyhog: a file a detector, of texts that it must find and texts that it must not."""
    lines = Lines()
    for path in sorted(folder.glob("tests/contracts/*.toml")):
        contract = tomllib.loads(path.read_text(encoding="utf-8"))
        label = contract["detector_id"]
        for kind in ("positive", "evasion", "cve_replay"):
            for case in contract.get(kind, []):
                value = case.get("credential")
                # A value that is written in pieces or encoded is found where it stands.
                lines.add(case["text"], label, value if value and value in case["text"] else None)
        for case in contract.get("negative", []):
            near = NEAR_MISS.match(case.get("reason", ""))
            lines.add(case["text"], UNDECIDED if near else None)
    return lines


def tested_lines(folder):
    """leaktor: tests of one line each, with the kind that it must be."""
    lines = Lines()
    source = (folder / "src/detectors/patterns.rs").read_text(encoding="utf-8")
    for test in re.split(r"#\[test\]", source)[1:]:
        given = re.search(r'let line\s*=\s*(?:r#"(.*?)"#|"((?:[^"\\]|\\.)*)")\s*;', test, re.S)
        if not given:
            continue
        text = given.group(1)
        if text is None:
            text = ast.literal_eval('"' + given.group(2) + '"')
        kinds = re.findall(r"(?<!!)has_type\(&secrets, SecretType::(\w+)", test)
        if kinds:
            lines.add(text, kinds[0])
        elif re.search(r"assert!\(\s*secrets\.is_empty\(\)", test):
            lines.add(text, None)
    return lines


def one_per_line(folder):
    """ripsecrets: files of one secret a line, named after its kind, and files of none."""
    lines = Lines()
    for path in sorted((folder / "test/one_per_line").iterdir()):
        for line in path.read_text(encoding="utf-8").splitlines():
            lines.add(line, path.name)
    for path in sorted((folder / "test/one_per_file").iterdir()):
        lines.add(path.read_text(encoding="utf-8"), path.name)
    for path in sorted((folder / "test").glob("none/*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            lines.add(line, None)
    return lines


def from_expressions(folder):
    """Values made from the expressions of Betterleaks, which kingfisher-rules carries."""
    lines = Lines()
    with gzip.open(folder / "generated/upstream-sources.json.gz") as packed:
        sources = json.load(packed)
    config = next(text for name, text in sources.items() if name.endswith("betterleaks.toml"))
    for rule in tomllib.loads(config)["rules"]:
        dice = random.Random(rule["id"])
        for _ in range(SAMPLES):
            made = expressions.sample(rule.get("regex", ""), dice)
            if made:
                text, value = made
                lines.add(text, rule["id"], value)
    return lines
