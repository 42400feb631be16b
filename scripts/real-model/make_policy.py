#!/usr/bin/env python3
"""Write a policy for the tiny model: mask what its own tokenizer is bound to say.

A model with random weights never says a card number. It does say the words of its vocabulary, and
it glues tokens together into words that are none. So two rules are made from the tokenizer:

* `vocabulary-word`: any of a few hundred words that are one token;
* `glued-word`: a token's beginning and the letters that the tokens after it happen to add, so that
  nearly every match lies across token boundaries.

    make_policy.py MODEL_DIRECTORY POLICY_DIRECTORY

The rules go to `packs/vocabulary.toml`, the grant and the guards to `main.toml`, and the same
patterns as JSON to `oracle.json`, for clients.py.
"""

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer

WORDS = 300
WORD_LENGTHS = range(4, 13)
BEGINNINGS = ["re", "se", "un", "de", "co", "st", "in"]
GLUED_LETTERS = (5, 14)

POLICY = """\
# Made by make_policy.py: the tiny model may be used, and its words are masked.
[[grant]]
groups = ["ml-engineers"]
models = ["tiny-llama*"]
operations = ["infer"]

[[guard]]
name = "customer numbers in"
direction = "request"
packs = ["customer"]
action = "mask"

[[guard]]
name = "words of the vocabulary"
direction = "response"
packs = ["vocabulary"]
action = "mask"
"""


def vocabulary_words(directory: Path) -> list[str]:
    """The most frequent whole-word tokens: BPE numbers tokens in the order of merging."""
    vocabulary = AutoTokenizer.from_pretrained(directory).get_vocab()
    words: list[str] = []
    for token, _ in sorted(vocabulary.items(), key=lambda item: item[1]):
        word = token.removeprefix("Ġ")
        if word.isascii() and word.isalpha() and word.islower() and len(word) in WORD_LENGTHS:
            if word not in words:
                words.append(word)
    return words[:WORDS]


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    model, policies = Path(sys.argv[1]), Path(sys.argv[2])
    words = vocabulary_words(model)
    low, high = GLUED_LETTERS
    rules = [
        {
            "id": "vocabulary-word",
            "regex": "(?:" + "|".join(sorted(words, key=lambda word: (-len(word), word))) + ")",
            "max_len": max(WORD_LENGTHS),
            "replace": "[word]",
            "matches": [f"one {words[0]} of it"],
            "misses": ["XYZ"],
        },
        {
            "id": "glued-word",
            "regex": f"(?:{'|'.join(BEGINNINGS)})[a-z]{{{low},{high}}}",
            "max_len": 2 + high,
            "replace": "[glued]",
            "matches": ["the recordings"],
            "misses": ["red"],
        },
    ]
    (policies / "packs").mkdir(parents=True, exist_ok=True)
    pack = ["# Made from the tokenizer by make_policy.py.\n"]
    for rule in rules:
        pack.append("[[rule]]")
        pack += [f"{key} = {json.dumps(value)}" for key, value in rule.items()]
        pack.append(f'description = "{rule["id"]} of the tiny model"\n')
    (policies / "packs" / "vocabulary.toml").write_text("\n".join(pack))
    (policies / "main.toml").write_text(POLICY)
    oracle = [{key: rule[key] for key in ("id", "regex", "replace")} for rule in rules]
    (policies / "oracle.json").write_text(json.dumps(oracle))
    print(f"{len(words)} words, {len(rules)} rules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
