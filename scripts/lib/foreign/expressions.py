"""Texts that a regular expression matches, made at random.

What stands in the first group, or all of it, is the value; around it the plainest form is taken,
because an expression that allows twenty characters between a name and its value does not mean that
twenty random ones stand there.
"""

import math
import re
import re._constants as code
import re._parser as parser
import string

# The most repetitions where an expression sets no bound.
UNBOUNDED = 12

# Bits a character under which a made value is no likely secret.
ENTROPY_MIN = 2.8

PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
TRIES = 20


def sample(expression, dice):
    """(text, value), or None where the expression cannot be read or gives only dull values."""
    expression = re.sub(r"\(\?i\)", "", expression).replace(r"\z", r"\Z")
    # A named group is a group, and Python has no POSIX classes.
    expression = re.sub(r"\(\?P<\w+>", "(", expression).replace("[[:alnum:]]", "[A-Za-z0-9]")
    try:
        tree = parser.parse(expression)
    except re.error:
        return None
    for _ in range(TRIES):
        maker = Maker(dice, groups=tree.state.groups > 1)
        maker.sequence(tree)
        text = "".join(maker.text)
        value = text[slice(*maker.span)] if maker.span else text
        if len(value) >= 6 and entropy(value) >= ENTROPY_MIN:
            return text, value
    return None


def entropy(value):
    """Bits a character."""
    counts = [value.count(character) for character in set(value)]
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


class Maker:
    """One walk through an expression."""

    def __init__(self, dice, groups):
        self.dice = dice
        self.text = []
        self.span = None
        self.outside = groups

    def sequence(self, nodes):
        """Everything in its order."""
        for operation, argument in nodes:
            self.node(operation, argument)

    def node(self, operation, argument):
        """One node of the tree."""
        if operation is code.LITERAL:
            self.text.append(chr(argument))
        elif operation in (code.IN, code.ANY, code.NOT_LITERAL, code.CATEGORY):
            self.text.append(self.dice.choice(characters(operation, argument)))
        elif operation is code.BRANCH:
            branches = argument[1]
            plain = self.outside and self.dice.random() < 0.7
            self.sequence(branches[0] if plain else self.dice.choice(branches))
        elif operation in (code.MAX_REPEAT, code.MIN_REPEAT):
            self.repeat(*argument)
        elif operation is code.SUBPATTERN:
            self.group(argument)
        elif operation is code.GROUPREF:
            pass

    def repeat(self, low, high, nodes):
        """As few as allowed around the value, any number within it."""
        if self.outside:
            count = low
            if low == 0 and high >= 10 and "_" in reach(nodes) and self.dice.random() < 0.7:
                self.text.append("_key")
        else:
            count = self.dice.randint(low, min(high, low + UNBOUNDED))
        for _ in range(count):
            self.sequence(nodes)

    def group(self, argument):
        """The first group is the value."""
        number, _, _, nodes = argument
        if number is None or self.span is not None or not self.outside:
            return self.sequence(nodes)
        start = sum(map(len, self.text))
        self.outside = False
        self.sequence(nodes)
        self.outside = True
        self.span = (start, sum(map(len, self.text)))
        return None


def reach(nodes):
    """Characters that one node may be."""
    operation, argument = nodes[0]
    return characters(operation, argument) if operation is code.IN else ""


def characters(operation, argument):
    """Printable characters that a class holds."""
    if operation is code.ANY:
        return string.ascii_letters + string.digits
    if operation is code.NOT_LITERAL:
        return PRINTABLE.replace(chr(argument), "")
    members, inverted = set(), False
    for kind, value in argument if operation is code.IN else [(operation, argument)]:
        if kind is code.NEGATE:
            inverted = True
        elif kind is code.LITERAL:
            members.add(chr(value))
        elif kind is code.RANGE:
            members.update(map(chr, range(value[0], min(value[1], 126) + 1)))
        elif kind is code.CATEGORY:
            members.update(CATEGORIES.get(value, ""))
    if inverted:
        members = set(PRINTABLE) - members
    return "".join(sorted(members & set(PRINTABLE + "\n\t"))) or " "


CATEGORIES = {
    code.CATEGORY_DIGIT: string.digits,
    code.CATEGORY_WORD: string.ascii_letters + string.digits + "_",
    code.CATEGORY_SPACE: " ",
    code.CATEGORY_NOT_SPACE: string.ascii_letters + string.digits,
    code.CATEGORY_NOT_WORD: " ",
}
