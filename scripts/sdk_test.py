"""The `openai` and `anthropic` clients, unmodified, against a running Penstock.

`scripts/sdk-test` starts the stack and sets the PENSTOCK_* variables. What the double says is in
scripts/lib/double.toml, or in a `[[double: …]]` directive of the prompt.
"""

import asyncio
import json
import os
import subprocess
import time
import urllib.request

import anthropic
import openai
import pytest

URL = os.environ["PENSTOCK_URL"]
TOKEN = os.environ["PENSTOCK_TOKEN"]
TOKEN_OTHER = os.environ["PENSTOCK_TOKEN_OTHER"]
TOKEN_PLATFORM = os.environ["PENSTOCK_TOKEN_PLATFORM"]
MODEL = "llama-3-8b"
# Documented examples, put together here so that no scanner stops at this file.
SECRET = "AKIA" + "IOSFODNN7" + "EXAMPLE"
ORIGINALS = ["ada.lovelace@", "12345674", "4111 1111", "4111111"]
CUSTOMER = "Who is our best customer?"


def openai_client(token: str = TOKEN) -> openai.OpenAI:
    """As anybody would make it: two settings, no patch."""
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=token, max_retries=0)


def anthropic_client(token: str = TOKEN) -> anthropic.Anthropic:
    """The token goes where this API's key goes: in x-api-key."""
    return anthropic.Anthropic(base_url=URL, api_key=token, max_retries=0)


@pytest.fixture(name="client")
def client_fixture() -> openai.OpenAI:
    """A caller who may."""
    return openai_client()


def user(text: str) -> list[dict[str, str]]:
    """One message."""
    return [{"role": "user", "content": text}]


def saying(text: str, **fields: object) -> list[dict[str, str]]:
    """A message that makes the double answer `text`."""
    return user("[[double: " + json.dumps({"text": text, **fields}) + "]]")


def ask(client: openai.OpenAI, text: str, **fields: object):
    """One chat completion."""
    return client.chat.completions.create(model=MODEL, messages=user(text), **fields)


def what_the_model_saw() -> str:
    """The last request, head and body, as the double received it."""
    url = os.environ["PENSTOCK_DOUBLE_ADMIN"] + "/__double/requests?last=1"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def assert_masked(text: str) -> None:
    """None of the values that the double says came through."""
    for original in ORIGINALS:
        assert original not in text, text


# === chat ===


def test_chat_answers(client):
    answer = client.chat.completions.create(model=MODEL, messages=saying("Hello there."))
    assert answer.choices[0].message.content == "Hello there."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0


def test_chat_streams_piece_by_piece(client):
    text = "Grüße, 世界 — one two three four five 🙂"
    stream = client.chat.completions.create(
        model=MODEL,
        messages=saying(text, split="chars:2"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    pieces = [delta for delta in deltas if delta]
    assert "".join(pieces) == text
    assert len(pieces) > 5, "it comes in pieces, though a word's end may wait for the next one"
    assert chunks[-1].usage.total_tokens > 0


def test_a_stream_is_masked_while_it_streams(client):
    times, pieces = [], []
    for chunk in ask(client, CUSTOMER, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.monotonic())
            pieces.append(chunk.choices[0].delta.content)
    text = "".join(pieces)
    assert_masked(text)
    assert text.startswith("Our best customer is Ada Lovelace, number ")
    assert text.endswith(" Anything else?")
    assert times[-1] - times[0] > 0.3, "it came while it was made"


def test_whole_and_streamed_are_masked_alike(client):
    whole = ask(client, CUSTOMER).choices[0].message.content
    stream = ask(client, CUSTOMER, stream=True)
    streamed = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert whole == streamed
    assert_masked(whole)


def test_tool_arguments_are_masked_and_stay_json(client):
    tools = [{"type": "function", "function": {"name": "find_customer", "parameters": {}}}]
    arguments = ""
    for chunk in ask(client, "Please look her up.", stream=True, tools=tools):
        for call in (chunk.choices and chunk.choices[0].delta.tool_calls) or []:
            arguments += call.function.arguments or ""
    assert_masked(arguments)
    assert set(json.loads(arguments)) == {"email", "number"}


def test_reasoning_is_masked(client):
    reasoning = text = ""
    for chunk in ask(client, "Please think first.", stream=True):
        delta = chunk.choices[0].delta if chunk.choices else None
        reasoning += getattr(delta, "reasoning_content", None) or ""
        text += (delta.content if delta else None) or ""
    assert reasoning.startswith("She can be reached at ") and reasoning.endswith(", I think.")
    assert text.startswith("Her number is ")
    assert_masked(reasoning + text)


def test_the_stream_helper_of_the_client_works(client):
    with client.chat.completions.stream(model=MODEL, messages=saying("One two three.")) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == "One two three."


# === the other endpoints ===


def test_completions(client):
    text = "Once upon a time."
    prompt = "[[double: " + json.dumps({"text": text}) + "]]"
    assert client.completions.create(model=MODEL, prompt=prompt).choices[0].text == text
    stream = client.completions.create(model=MODEL, prompt=prompt, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == text


def test_responses(client):
    answer = client.responses.create(model=MODEL, input=CUSTOMER, stream=False)
    assert_masked(answer.output_text)
    assert "Ada Lovelace" in answer.output_text


def test_responses_stream_with_its_final_copies(client):
    streamed, done, completed = "", "", None
    for event in client.responses.create(model=MODEL, input=CUSTOMER, stream=True):
        if event.type == "response.output_text.delta":
            streamed += event.delta
        elif event.type == "response.output_text.done":
            done = event.text
        elif event.type == "response.completed":
            completed = event.response
    assert_masked(streamed)
    assert streamed == done == completed.output_text


def test_embeddings_and_models(client):
    vectors = client.embeddings.create(model=MODEL, input=["one", "two"]).data
    assert len(vectors) == 2 and all(isinstance(number, float) for number in vectors[0].embedding)
    assert client.models.list().data


# === what is refused, in terms of the client ===


def test_no_known_caller():
    for token in ["nobody", "a.b.c", TOKEN[:-4] + "AAAA"]:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(openai_client(token), "Hello")
        assert caught.value.request_id
        assert caught.value.code


def test_a_group_that_may_not():
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(openai_client(TOKEN_OTHER), "Hello")
    assert caught.value.code.endswith("_not_permitted")


def test_a_model_that_is_not_granted(client):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="gpt-9", messages=user("Hello"))
    assert caught.value.code == "model_not_permitted"


def test_a_secret_is_blocked_and_not_repeated(client):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(client, f"Why does {SECRET} not work?")
    assert caught.value.code == "request_blocked"
    assert SECRET not in str(caught.value)
    assert "no secrets in" in str(caught.value), "the guard is named"


def test_a_secret_is_blocked_wherever_it_stands(client):
    parts = [{"type": "text", "text": "Look:"}, {"type": "text", "text": SECRET}]
    for fields in [
        {"messages": [{"role": "system", "content": SECRET}, *user("Hello")]},
        {"messages": [{"role": "user", "content": parts}]},
        {"messages": user("Hello"), "metadata": {"note": SECRET}},
    ]:
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model=MODEL, **fields)


def test_a_prompt_is_masked_before_the_model_sees_it(client):
    ask(client, "Order for CUST-12345674, please.")
    seen = what_the_model_saw()
    assert "Order for " in seen
    assert_masked(seen)
    assert TOKEN not in seen, "the caller's credential stays with the gateway"


SOUND = ("meeting.wav", b"RIFF\x00\x01\xff\r\n--\r\n" * 1000, "audio/wav")


def transcribe(token: str, prompt: str):
    """The client writes a form with a file."""
    audio = openai_client(token).audio.transcriptions
    return audio.create(model="whisper-1", file=SOUND, prompt=prompt)


def test_sound_needs_a_grant_and_its_prompt_is_inspected():
    assert transcribe(TOKEN_PLATFORM, "names: Łukasz, Dana").text == "names: Łukasz, Dana"
    assert_masked(transcribe(TOKEN_PLATFORM, "about CUST-12345674").text)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        transcribe(TOKEN_PLATFORM, f"key {SECRET}")
    assert caught.value.code == "request_blocked"
    with pytest.raises(openai.PermissionDeniedError) as caught:
        transcribe(TOKEN, "names")
    assert caught.value.code == "media_not_permitted"


def test_a_picture_needs_a_grant():
    url = "data:image/png;base64,iVBORw0KGgo="
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    messages = [{"role": "user", "content": parts}]
    with pytest.raises(openai.PermissionDeniedError) as caught:
        openai_client().chat.completions.create(model=MODEL, messages=messages)
    assert caught.value.code == "media_not_permitted"
    platform = openai_client(TOKEN_PLATFORM)
    assert platform.chat.completions.create(model=MODEL, messages=messages).choices


def test_a_body_over_the_bound(client):
    assert ask(client, "word " * 200_000).choices
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "x" * (9 << 20))
    assert caught.value.status_code == 413


def test_an_error_of_the_engine_comes_through(client):
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=MODEL, messages=saying("", status=429))
    assert caught.value.status_code == 429


def test_a_stream_that_breaks_off_is_an_error(client):
    messages = saying("one two three four five six", split="words", truncate="after:3")
    with pytest.raises(Exception) as caught:
        for _ in client.chat.completions.create(model=MODEL, messages=messages, stream=True):
            pass
    assert not isinstance(caught.value, AssertionError)


# === many at once, and callers who leave ===


def test_many_streams_at_once():
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        text = f"This is answer {number}, and no other."
        stream = await client.chat.completions.create(
            model=MODEL, messages=saying(text, inter_token_ms=2), stream=True
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=TOKEN, max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(40)))

    answers = asyncio.run(all_of_them())
    assert answers == [f"This is answer {number}, and no other." for number in range(40)]


def test_a_caller_who_leaves_disturbs_nobody(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=saying("word " * 500, inter_token_ms=5), stream=True
    )
    next(iter(stream))
    stream.close()
    assert ask(client, "Hello").choices


# === anthropic ===


def message(client: anthropic.Anthropic, text: str, **fields: object):
    """One message."""
    return client.messages.create(model=MODEL, max_tokens=200, messages=user(text), **fields)


def test_anthropic_answers_and_masks():
    answer = message(anthropic_client(), CUSTOMER)
    assert "Ada Lovelace" in answer.content[0].text
    assert_masked(answer.content[0].text)


def test_anthropic_streams():
    fields = {"model": MODEL, "max_tokens": 200, "messages": user(CUSTOMER)}
    with anthropic_client().messages.stream(**fields) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 3
    assert "".join(pieces) == final.content[0].text
    assert_masked(final.content[0].text)


def test_anthropic_bearer_token_works_too():
    client = anthropic.Anthropic(base_url=URL, auth_token=TOKEN, api_key=None, max_retries=0)
    assert message(client, "Hello").content


def test_anthropic_refusals_have_its_own_types():
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        message(anthropic_client("nobody"), "Hello")
    assert unknown.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.PermissionDeniedError) as denied:
        message(anthropic_client(TOKEN_OTHER), "Hello")
    assert denied.value.body["error"]["type"] == "permission_error"
    with pytest.raises(anthropic.PermissionDeniedError) as blocked:
        message(anthropic_client(), f"Why does {SECRET} not work?")
    assert SECRET not in str(blocked.value)


# === the record ===


def recorder(*arguments: str) -> subprocess.CompletedProcess:
    """Runs the log tool."""
    command = [os.environ["PENSTOCK_RECORDER"], *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_every_call_is_on_record(client):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=user(CUSTOMER))
    session, log = raw.headers["x-request-id"], os.environ["PENSTOCK_LOG"]
    summary = {}
    for _ in range(100):
        lines = recorder("sessions", log, "--json").stdout.splitlines()
        summary = next((json.loads(line) for line in lines if session in line), {})
        if summary.get("ended") == "closed":
            break
        time.sleep(0.1)
    assert (summary["subject"], summary["model"], summary["status"]) == ("ada", MODEL, 200)
    assert summary["decisions"] >= 3
    shown = recorder("show", log, session).stdout
    assert "Ada Lovelace" in shown
    assert_masked(shown)
    assert recorder("verify", log).returncode == 0
