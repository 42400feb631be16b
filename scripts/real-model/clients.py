#!/usr/bin/env python3
"""Drive a real engine through the gateway with the `openai` client and check every text.

The engine honours `seed`, so each request is made twice: directly, and through the gateway. What
came directly, masked here by the few lines of `oracle`, must be what came through, letter for
letter, however the engine cut it into tokens.

Reads PENSTOCK_URL, PENSTOCK_TOKEN, ENGINE_URL, ORACLE (the patterns as JSON) and NODE_RESULTS (a
JSON-lines file of client.mjs; optional). Ends with a count and exit code 1 if anything differed.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import openai

MODEL = "tiny-llama"
SEEDS = range(40, 44)
TOKENS = 80
PROMPT = "Tell me about the recorder."

RULES = [
    (re.compile(rule["regex"]), rule["replace"])
    for rule in json.loads(open(os.environ["ORACLE"], encoding="utf-8").read())
]
RESULTS = {"passed": 0, "failed": 0}


def oracle(text: str) -> str:
    """The masked text: leftmost, then longest, then the earlier rule."""
    out, at = [], 0
    while at < len(text):
        matches = [(rule.match(text, at), replace) for rule, replace in RULES]
        found = [(match.end(), replace) for match, replace in matches if match]
        if found:
            end = max(end for end, _ in found)
            out.append(next(replace for stop, replace in found if stop == end))
            at = end
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def expect(name: str, condition: bool, detail: str = "") -> None:
    """Count one check and say it."""
    RESULTS["passed" if condition else "failed"] += 1
    verdict = "ok  " if condition else "FAIL"
    print(f"   {verdict} {name}{': ' + detail if detail else ''}", flush=True)


# === the four ways of asking; each gives the text in the pieces in which it came ===


def chat(client: openai.OpenAI, seed: int) -> Iterator[str]:
    """Chat, whole."""
    answer = client.chat.completions.create(
        model=MODEL, seed=seed, max_tokens=TOKENS, messages=[{"role": "user", "content": PROMPT}]
    )
    yield answer.choices[0].message.content or ""


def chat_stream(client: openai.OpenAI, seed: int) -> Iterator[str]:
    """Chat, streamed."""
    for chunk in client.chat.completions.create(
        model=MODEL,
        seed=seed,
        max_tokens=TOKENS,
        stream=True,
        messages=[{"role": "user", "content": PROMPT}],
    ):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def responses(client: openai.OpenAI, seed: int) -> Iterator[str]:
    """Responses, whole."""
    answer = client.responses.create(
        model=MODEL,
        input=PROMPT,
        max_output_tokens=TOKENS,
        stream=False,
        extra_body={"seed": seed},
    )
    yield answer.output_text


def responses_stream(client: openai.OpenAI, seed: int) -> Iterator[str]:
    """Responses, streamed. The whole text comes four times more; each copy must agree."""
    streamed, copies = [], []
    for event in client.responses.create(
        model=MODEL,
        input=PROMPT,
        max_output_tokens=TOKENS,
        stream=True,
        extra_body={"seed": seed},
    ):
        if event.type == "response.output_text.delta":
            streamed.append(event.delta)
            yield event.delta
        elif event.type == "response.output_text.done":
            copies.append(event.text)
        elif event.type == "response.content_part.done":
            copies.append(event.part.text)
        elif event.type == "response.output_item.done":
            copies.append(event.item.content[0].text)
        elif event.type == "response.completed":
            copies.append(event.response.output[0].content[0].text)
    if copies != ["".join(streamed)] * 4:
        raise AssertionError(f"the final copies differ from the deltas: {copies}")


WAYS: dict[str, Callable[[openai.OpenAI, int], Iterator[str]]] = {
    "chat": chat,
    "chat, streamed": chat_stream,
    "responses": responses,
    "responses, streamed": responses_stream,
}


def compare(name: str, way: Callable, direct: openai.OpenAI, gateway: openai.OpenAI) -> None:
    """One way of asking, over all seeds."""
    masks, pieces, sample = 0, 0, ""
    for seed in SEEDS:
        said = "".join(way(direct, seed))
        came = list(way(gateway, seed))
        text, wanted = "".join(came), oracle(said)
        if text != wanted:
            texts = f"\n  said   {said!r}\n  wanted {wanted!r}\n  came   {text!r}"
            expect(name, False, f"seed {seed}{texts}")
            return
        masks += text.count("[word]") + text.count("[glued]")
        pieces += len(came)
        sample = f"{said[:60]!r} → {text[:60]!r}"
    expect(name, masks > 0, f"{len(SEEDS)} answers, {pieces} pieces, {masks} masks; {sample}")


def refused(name: str, call: Callable, status: int) -> None:
    """A call that the gateway must refuse itself."""
    try:
        call()
    except openai.APIStatusError as error:
        code = (error.body or {}).get("code") if isinstance(error.body, dict) else None
        good = error.status_code == status and bool(error.request_id)
        expect(name, good, f"{error.status_code} {code}")
    else:
        expect(name, False, "it was let through")


def prompt_is_masked(direct: openai.OpenAI, gateway: openai.OpenAI) -> None:
    """The engine counts the tokens it read: those of the masked prompt, not of the original."""

    def tokens(client: openai.OpenAI, text: str) -> int:
        answer = client.chat.completions.create(
            model=MODEL, seed=1, max_tokens=2, messages=[{"role": "user", "content": text}]
        )
        return answer.usage.prompt_tokens if answer.usage else 0

    secret = "order for CUST-" + "12345674"
    original, masked = tokens(direct, secret), tokens(gateway, secret)
    expect(
        "the prompt is masked before the model reads it",
        original != masked,
        f"{original} tokens as written, {masked} as read",
    )


def node_results(path: str) -> None:
    """What the npm client got, held against what it got directly."""
    for line in open(path, encoding="utf-8"):
        record = json.loads(line)
        wanted = oracle(record["direct"])
        expect(
            f"npm openai: {record['name']}",
            record["gateway"] == wanted and "[" in wanted,
            f"{record['pieces']} pieces",
        )


def main() -> int:
    url, token = os.environ["PENSTOCK_URL"], os.environ["PENSTOCK_TOKEN"]
    direct = openai.OpenAI(base_url=os.environ["ENGINE_URL"] + "/v1", api_key="-", max_retries=0)
    gateway = openai.OpenAI(base_url=url + "/v1", api_key=token, max_retries=0)
    for name, way in WAYS.items():
        compare(name, way, direct, gateway)
    prompt_is_masked(direct, gateway)
    refused("another model is refused", lambda: list(chat_other(gateway)), 403)
    expect("unloading the model is refused", post(url + "/reset", token) == 403)
    stranger = openai.OpenAI(base_url=url + "/v1", api_key="nobody", max_retries=0)
    refused("a stranger is refused", lambda: list(chat(stranger, 1)), 401)
    if os.environ.get("NODE_RESULTS"):
        node_results(os.environ["NODE_RESULTS"])
    print(f"{RESULTS['passed']} passed, {RESULTS['failed']} failed")
    return 1 if RESULTS["failed"] else 0


def post(url: str, token: str) -> int:
    """The status of a bare POST: the client library cannot be made to ask for such a path."""
    request = urllib.request.Request(
        url, data=b"", method="POST", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def chat_other(client: openai.OpenAI) -> Iterator[str]:
    """A model that no grant names."""
    yield str(
        client.chat.completions.create(
            model="another", messages=[{"role": "user", "content": PROMPT}]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
