#!/usr/bin/env python3
"""Print one value of a TOML file, for shell scripts: `toml_value.py FILE listen.tcp`.

A number in the path is an index into an array. An absent value prints nothing.
"""

import sys
import tomllib


def main() -> int:
    with open(sys.argv[1], "rb") as file:
        value = tomllib.load(file)
    for key in sys.argv[2].split("."):
        try:
            value = value[int(key)] if key.isdigit() else value[key]
        except (KeyError, IndexError, TypeError):
            return 0
    print(value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
