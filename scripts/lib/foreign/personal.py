"""Personal data from the tests and generators of others.

Where a source gives bare numbers, they stand behind the name that the source itself gives to them.
"""

import ast
import importlib
import inspect
import json
import logging
import pkgutil
import random
import re

from lines import UNDECIDED, Lines, few

# What no rule without a model of language can find: sentences with it alone count as benign.
UNSEEN = {"PERSON", "STREET_ADDRESS", "GPE", "ORGANIZATION", "TITLE", "NRP", "AGE"}

# Form fields that hold no number of anybody.
OF_NO_PERSON = re.compile("Select|Postal|Postcode|ZIP|Zip|County|Region|State|Province")

NUMBERS_OF_A_KIND = 12
ROUNDS = 3


def sentences(folder):
    """presidio-evaluator: made-up sentences with spans."""
    lines = Lines()
    for item in json.loads((folder / "data/synth_dataset_v2.json").read_text(encoding="utf-8")):
        spans = [
            (span["start_position"], span["end_position"], span["entity_type"])
            for span in item["spans"]
            if span["entity_type"] not in UNSEEN
        ]
        lines.add_spans(item["full_text"], spans)
    return lines


def numbers(folder):
    """python-stdnum: numbers of its documentation and tests, by what its modules say of them."""
    lines = Lines()
    tests = {}
    for path in sorted((folder / "tests").glob("*.doctest")):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"from stdnum\.?([\w.]*) import ([\w, ]+)", text):
            for module in name[1].split(","):
                tests.setdefault(".".join(filter(None, [name[0], module.strip()])), []).append(text)
    package = importlib.import_module("stdnum")
    modules = {
        found.name: importlib.import_module(found.name)
        for found in pkgutil.walk_packages(package.__path__, "stdnum.")
    }
    european = [modules["stdnum.eu.vat"], modules["stdnum.iban"]]
    for name, module in sorted(modules.items()):
        country = name.rpartition(".")[0] + "." if name.count(".") > 1 else name
        title = (module.__doc__ or "").split("\n\n")[0]
        titled = re.match(r"(.+?)(?:\s\((.+)\))?\.\s*$", title, re.S)
        if not hasattr(module, "is_valid") or not titled:
            continue
        kind = name.removeprefix("stdnum.")
        text = "\n".join([module.__doc__, *tests.get(kind, [])])
        given = re.findall(r"'([^'\n]{6,40})'", text)
        given += re.findall(r"^\.\.\. (\S.{5,40})$", text, re.M)
        given = [value.strip() for value in given if sum(map(str.isdigit, value)) >= 4]
        right = few([value for value in given if valid(module, value)], NUMBERS_OF_A_KIND, kind)
        wrong = few([value for value in given if not valid(module, value)], 4, kind)
        short, long = titled.group(1), " ".join((titled.group(2) or titled.group(1)).split())
        for value in right:
            lines.add(f"{short}: {value}", kind, value)
            lines.add(f"My {long} is {value}, please check it.", kind, value)
        for value in wrong:
            # What one standard refuses and another of the country accepts may be its number.
            of_country = (module for at, module in modules.items() if at.startswith(country))
            others = any(valid(other, value) for other in [*of_country, *european])
            lines.add(f"{short}: {value}", UNDECIDED if others else None)
    return lines


def valid(module, value):
    """A validator of another program may fall over anything, and a module may have none."""
    try:
        return bool(module.is_valid(value))
    except Exception:  # whatever it raises, it did not accept
        return False


def form_fields(folder):
    """django-localflavor: what its form fields accept and refuse."""
    lines = Lines()
    for path in sorted((folder / "tests").rglob("test*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            known, field = {}, None
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                    keys = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
                    known[getattr(node.targets[0], "id", "")] = keys
                called = getattr(node.func, "attr", "") if isinstance(node, ast.Call) else ""
                if called == "assertFieldOutput":
                    field = getattr(node.args[0], "id", None)
            if not field or OF_NO_PERSON.search(field):
                continue
            words = re.sub(r"(Form)?Field$", "", field)
            # A country, then words: ESIdentityCardNumberField.
            if words[:2].isupper() and not words.startswith(("IBAN", "BIC", "EAN")):
                words = f"{words[:2]} {words[2:]}"
            words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", words)
            for value in filter(lambda value: isinstance(value, str), known.get("valid", [])):
                lines.add(f"{' '.join(words.split())}: {value}", field, value)
    return lines


def bank_numbers(folder):
    """schwifty: bank numbers of its tests."""
    lines = Lines()
    for name, label in (("test_iban.py", "iban"), ("test_bic.py", "bic")):
        tree = ast.parse((folder / "tests" / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.List):
                continue
            given = getattr(node.targets[0], "id", "")
            for item in node.value.elts:
                value = item.value if isinstance(item, ast.Constant) else None
                if not isinstance(value, str):
                    continue
                known = label if given == "valid" else None
                if given in ("valid", "invalid"):
                    lines.add(f"{label.upper()}: {value}", known, value)
                    lines.add(f"Please transfer it to {value} ({label.upper()}).", known, value)
    return lines


def addresses(folder):
    """email-validator: addresses that it takes and texts that it refuses."""
    lines = Lines()
    tree = ast.parse((folder / "tests/test_syntax.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        # What the syntax refuses may hold an address all the same.
        label = {"test_email_valid": "email", "test_email_invalid_syntax": UNDECIDED}.get(node.name)
        if label is None:
            continue
        for case in ast.walk(node.decorator_list[0]):
            if isinstance(case, ast.Tuple) and isinstance(case.elts[0], ast.Constant):
                value = case.elts[0].value
                if isinstance(value, str):
                    good = label == "email"
                    text = f"write to {value} today" if good else value
                    lines.add(text, label, value if good else None)
    return lines


def wallets(python_folder, node_folder):
    """coinaddrvalidator and wallet-address-validator: addresses of coins."""
    lines = Lines()
    source = (node_folder / "test/wallet_address_validator.js").read_text(encoding="utf-8")
    for verdict, value, coin, rest in re.findall(
        r"\b(valid|invalid) ?\('([^']+)', '(\w+)'(.*?)\)", source
    ):
        if "testnet" in rest or "both" in rest or coin.startswith("test"):
            continue
        coin = coin.lower()
        # The address of one coin is wrong for another, and an address all the same.
        wrong = UNDECIDED if f"valid('{value}'" in source.replace("invalid", "wrong") else None
        lines.add(f"send {coin} to {value} now", coin if verdict == "valid" else wrong, value)
    tree = ast.parse((python_folder / "tests/test_coinaddr.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) >= 3:
            words = [item.value for item in node.elts if isinstance(item, ast.Constant)]
            words = [word.decode() if isinstance(word, bytes) else word for word in words]
            if len(words) >= 3 and all(isinstance(word, str) for word in words[:3]):
                coin, value = words[0], words[2]
                if len(value) > 20 and "test" not in words[1:]:
                    lines.add(f"send {coin} to {value} now", coin, value)
    return lines


def telephones():
    """phonenumbers: the example numbers of every region."""
    import phonenumbers as numbers_of

    lines = Lines()
    kinds = numbers_of.PhoneNumberType
    formats = numbers_of.PhoneNumberFormat
    for region in sorted(numbers_of.SUPPORTED_REGIONS):
        for kind in (kinds.FIXED_LINE, kinds.MOBILE):
            example = numbers_of.example_number_for_type(region, kind)
            if example is None:
                continue
            written = [numbers_of.format_number(example, form) for form in
                       (formats.E164, formats.INTERNATIONAL, formats.NATIONAL)]
            for value, label in zip(written, ("phone-e164", "phone-international")):
                lines.add(f"you can reach me at {value} after five", label, value)
            lines.add(f"Phone: {written[2]}", "phone-national", written[2])
    return lines


def generated():
    """Faker: what its providers make, in every country, behind the providers' own names."""
    import faker
    from faker.config import AVAILABLE_LOCALES

    everywhere = ["credit_card_number", "iban", "swift", "phone_number", "license_plate", "email",
                  "ipv4_public", "ipv6", "mac_address", "vin", "passport_number", "date_of_birth"]
    logging.disable(logging.WARNING)  # it says of many numbers that they are made up
    lines = Lines()
    for locale in sorted(AVAILABLE_LOCALES):
        fake = faker.Faker(locale)
        fake.seed_instance(11)
        random.seed(11)
        own = provider(fake, "ssn")
        names = [name for name, function in inspect.getmembers(own, inspect.ismethod)
                 if name in vars(type(own)) and not name.startswith("_")] if own else []
        for name in everywhere + sorted(set(names)):
            for _ in range(ROUNDS):
                try:
                    value = getattr(fake, name)()
                except Exception:  # it wants arguments, or this country has none
                    break
                value = value.isoformat() if hasattr(value, "isoformat") else value
                if not isinstance(value, str):
                    continue
                if name != "email" and sum(map(str.isdigit, value)) < 3:
                    continue
                label = name if name in everywhere else f"{locale}.{name}"
                lines.add(f"{written_name(name, locale)}: {value}", label, value)
    return lines


def provider(fake, name):
    """The provider of one kind in the chosen country."""
    for found in fake.get_providers():
        if type(found).__module__.startswith(f"faker.providers.{name}."):
            return found
    return None


def written_name(name, locale):
    """`ssn` is what that country's people are numbered by, whatever it is called there."""
    if name == "ssn" and locale != "en_US":
        return f"national identification number ({locale[-2:]})"
    return name.replace("_", " ")


def german(folder):
    """datafog: German sentences with what must be found in them."""
    lines = Lines()
    tree = ast.parse((folder / "tests/test_de_pii_regex.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) == 3:
            words = [item.value for item in node.elts if isinstance(item, ast.Constant)]
            if len(words) == 3 and all(isinstance(word, str) for word in words):
                lines.add(words[1], words[0], words[2])
    return lines
