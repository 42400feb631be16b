//! A stream that is under way costs no allocation an event, as long as nothing is found in it, and
//! keeps little memory between two events.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use serde_json::{Value, json};
use support::{everyone, filter, policy};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// Counts what this thread allocates.
struct Counting;

fn count(bytes: isize) {
    LIVE_BYTES.with(|live| live.set(live.get() + bytes));
}

#[allow(unsafe_code)] // only an allocator can count allocations
// SAFETY: everything is the system allocator's; counting touches a constant-initialised cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Events until buffers have grown to what a stream needs.
const WARM_EVENTS: usize = 400;

const WORDS: [&str; 8] = [
    "The",
    " gate",
    " stands",
    " \"where\"",
    " the\n",
    " mill\u{e9}",
    " CUST",
    "OMER is.",
];

fn allocations(media: &str, event: &dyn Fn(usize, &str) -> Value) -> usize {
    let policy = policy("mask");
    let scope = policy.scope(&everyone());
    let mut filter = filter(&policy, &scope, media);
    let events: Vec<String> = (0..WARM_EVENTS * 2)
        .map(|at| {
            let event = event(at, WORDS[at % WORDS.len()]);
            match media {
                "text/event-stream" => format!("data: {event}\n\n"),
                _ => format!("{event}\n"),
            }
        })
        .collect();
    let mut out = Vec::with_capacity(events.iter().map(String::len).sum());
    let mut before = 0;
    for (at, event) in events.iter().enumerate() {
        if at == WARM_EVENTS {
            before = ALLOCATIONS.with(Cell::get);
        }
        filter
            .push(event.as_bytes(), &mut out)
            .expect("well-formed");
        assert!(filter.take_findings().is_empty());
    }
    let made = ALLOCATIONS.with(Cell::get) - before;
    filter.finish(&mut out).expect("well-formed");
    assert_eq!(
        String::from_utf8_lossy(&out).matches("gate").count(),
        WARM_EVENTS / 4
    );
    made
}

#[test]
fn an_event_of_a_stream_allocates_nothing() {
    let chat = |_, text: &str| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1700000000, "choices":
            [{"index": 0, "delta": {"content": text}, "finish_reason": null}], "usage": null})
    };
    let responses = |at, text: &str| {
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": text, "sequence_number": at, "logprobs": []})
    };
    let anthropic = |_, text: &str| {
        json!({"type": "content_block_delta", "index": 0, "delta":
            {"type": "text_delta", "text": text}})
    };
    let counted = |at, text: &str| {
        json!({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": at}})
    };
    let tools = |at, text: &str| {
        json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls":
            [{"index": at % 2, "function": {"arguments": text}}]}}]})
    };
    let ollama = |at, text: &str| {
        json!({"model": "m", "created_at": format!("2026-01-01T00:00:00.{at:06}Z"),
            "message": {"role": "assistant", "content": text}, "done": false})
    };
    for media in ["text/event-stream", "application/x-ndjson"] {
        for (name, event) in [
            ("chat", &chat as &dyn Fn(usize, &str) -> Value),
            ("responses", &responses),
            ("anthropic", &anthropic),
            ("usage in every chunk", &counted),
            ("tool calls", &tools),
            ("ollama", &ollama),
        ] {
            assert_eq!(allocations(media, event), 0, "{name} as {media}");
        }
    }
}

/// What a stream has on the heap between two events, once some have come: there are thousands of streams.
#[test]
fn a_stream_that_waits_is_small() {
    const BYTES_MAX: isize = 4608;
    let policy = policy("mask");
    let scope = policy.scope(&everyone());
    let event = |role: &str, text: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":17000\
             00000,\"model\":\"llama\",\"choices\":[{{\"index\":0,\"delta\":{{{role}\"content\":\"{text}\"}},\
             \"finish_reason\":null}}]}}\n\n"
        )
    };
    let events: Vec<String> = WORDS
        .iter()
        .cycle()
        .take(32)
        .map(|_| event("", " gate"))
        .collect();
    let mut out = Vec::with_capacity(64 << 10);
    // What all streams share is made for the first.
    let mut other = filter(&policy, &scope, "text/event-stream");
    other
        .push(events[0].as_bytes(), &mut out)
        .expect("well-formed");
    let before = LIVE_BYTES.with(Cell::get);
    let mut filter = filter(&policy, &scope, "text/event-stream");
    // The head of an answer often brings several events with it.
    let first = event("\"role\":\"assistant\",", "").repeat(6);
    filter
        .push(first.as_bytes(), &mut out)
        .expect("well-formed");
    for event in &events {
        filter
            .push(event.as_bytes(), &mut out)
            .expect("well-formed");
    }
    drop(first);
    let live = LIVE_BYTES.with(Cell::get) - before;
    assert!(live < BYTES_MAX, "{live}");
}
