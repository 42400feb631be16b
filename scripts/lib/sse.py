#!/usr/bin/env python3
"""Show an OpenAI chat stream as it comes in: the text, with a bar wherever a new event began.

Reads the events on standard input. The last line tells how the stream came, for the script that
called: `EVENTS FIRST_MS LAST_MS`, milliseconds since this program started; the whole text is
written to the file given.

    sse.py TEXT_FILE
"""

import json
import sys
import time


def main() -> int:
    start, times, text = time.monotonic(), [], []
    sys.stdout.write("   ")
    for line in sys.stdin.buffer:
        if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
            continue
        choices = json.loads(line[5:]).get("choices") or [{}]
        piece = choices[0].get("delta", {}).get("content")
        if piece:
            times.append((time.monotonic() - start) * 1000)
            text.append(piece)
            sys.stdout.write(("│" if len(text) > 1 else "") + piece.replace("\n", " "))
            sys.stdout.flush()
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("".join(text))
    first, last = (times[0], times[-1]) if times else (0, 0)
    print(f"\n{len(times)} {first:.0f} {last:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
