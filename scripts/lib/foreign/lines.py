"""Lines of `{"text", "label", "span"}` and where they go.

A value that is known to lie in its text gets its span; a label of None says that nothing is to be
found. Spans count characters, as Python does.
"""

import json
import pathlib
import random

# The label of a text of which nobody knows: what one standard refuses and another accepts.
UNDECIDED = "undecided"


class Lines:
    """The lines of one corpus, each once."""

    # The corpus that is being read: a label is `CORPUS.LABEL`, so a map can tell them apart.
    corpus = ""

    def __init__(self):
        self.lines = {}

    def own(self, label):
        """The label with the name of its corpus."""
        return label if label in (None, UNDECIDED) else f"{self.corpus}.{label}"

    def add(self, text, label, value=None):
        """`value` within `text` is a `label`; the whole text is, where there is no value."""
        if not text or (value is not None and value not in text):
            return
        span = None
        if value is not None and label not in (None, UNDECIDED):
            start = text.rindex(value)
            span = [start, start + len(value)]
        line = {"text": text, "label": self.own(label), "span": span}
        self.lines.setdefault(json.dumps(line, ensure_ascii=False))

    def add_spans(self, text, spans):
        """`spans` are (start, end, label); none of them makes the text benign."""
        labelled = ((start, end, self.own(label)) for start, end, label in spans)
        spans = [dict(zip(("start", "end", "label"), span)) for span in labelled]
        line = {"text": text, "spans": spans} if spans else {"text": text, "label": None}
        self.lines.setdefault(json.dumps(line, ensure_ascii=False))

    def write(self, path: pathlib.Path):
        """One file; says how much of what."""
        path.write_text("".join(f"{line}\n" for line in self.lines), encoding="utf-8")
        benign, undecided = (
            sum(f'"label": {word}' in line for line in self.lines)
            for word in ("null", f'"{UNDECIDED}"')
        )
        labelled = len(self.lines) - benign - undecided
        print(f"{path.name}: {labelled} labelled, {benign} benign, {undecided} undecided")


def few(values, count, seed):
    """At most so many of them, the same ones every time."""
    values = list(dict.fromkeys(values))
    if len(values) <= count:
        return values
    return random.Random(seed).sample(values, count)
