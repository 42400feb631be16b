//! Chat bodies around texts: what a gateway's JSON looks like, with the identifiers that engines
//! and SDKs put into it.

use serde_json::{Value, json};

use crate::dice::Dice;

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &[u8] = b"0123456789abcdef";

/// Wraps the texts, one body a line, until there are `bytes`.
pub(super) fn wrap(texts: &[&str], bytes: usize) -> String {
    let mut dice = Dice::new(0x6368_6174);
    let mut out = String::with_capacity(bytes + 4096);
    for round in texts.chunks(2) {
        if out.len() >= bytes {
            break;
        }
        let (question, answer) = (round[0], round.get(1).copied().unwrap_or("Yes."));
        let body = match dice.below(4) {
            0 => request(&mut dice, question, answer),
            1 => answer_body(&mut dice, answer),
            2 => tool_call(&mut dice, question, answer),
            _ => {
                stream(&mut dice, question, &mut out);
                continue;
            }
        };
        out.push_str(&body.to_string());
        out.push('\n');
    }
    out
}

fn uuid(dice: &mut Dice) -> String {
    let lengths = [8, 4, 4, 4, 12];
    lengths.map(|length| dice.word(HEX, length)).join("-")
}

fn request(dice: &mut Dice, question: &str, answer: &str) -> Value {
    json!({"model": "llama-3-8b-instruct", "messages": [
        {"role": "system", "content": "You are a helpful assistant. Answer briefly."},
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "Thank you. Now say it in one sentence."}],
        "temperature": 0.7, "max_tokens": 64 << dice.below(6), "stream": true,
        "seed": dice.below(1 << 31), "user": uuid(dice),
        "metadata": {"trace_id": dice.word(HEX, 32), "span_id": dice.word(HEX, 16)}})
}

fn answer_body(dice: &mut Dice, answer: &str) -> Value {
    let created = 1_700_000_000 + dice.below(60_000_000);
    let (prompt, completion) = (dice.below(4000), dice.below(900));
    json!({"id": format!("chatcmpl-{}", dice.word(LETTERS, 29)), "object": "chat.completion",
        "created": created, "model": "llama-3-8b-instruct",
        "system_fingerprint": format!("fp_{}", dice.word(HEX, 10)),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer,
            "refusal": null, "tool_calls": []}, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion}})
}

fn tool_call(dice: &mut Dice, question: &str, answer: &str) -> Value {
    let id = format!("call_{}", dice.word(LETTERS, 24));
    let arguments = json!({"query": question.chars().take(160).collect::<String>(),
        "limit": dice.below(50), "since": format!("20{:02}-0{}-1{}", dice.below(26),
        1 + dice.below(9), dice.below(10)), "cursor": null});
    json!({"model": "llama-3-8b-instruct", "messages": [
        {"role": "user", "content": question},
        {"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
            "function": {"name": "search_documents", "arguments": arguments.to_string()}}]},
        {"role": "tool", "tool_call_id": id,
            "content": json!({"hits": [{"id": uuid(dice), "score": 0.5, "text": answer}],
                "took_ms": dice.below(90)}).to_string()}],
        "tool_choice": "auto"})
}

/// A stream's chunks, a word or two each.
fn stream(dice: &mut Dice, text: &str, out: &mut String) {
    let id = format!("chatcmpl-{}", dice.word(LETTERS, 29));
    let created = 1_700_000_000 + dice.below(60_000_000);
    for piece in text.split_inclusive(' ').take(24) {
        let event = json!({"id": id, "object": "chat.completion.chunk", "created": created,
            "model": "llama-3-8b-instruct", "choices": [{"index": 0,
            "delta": {"content": piece}, "logprobs": null, "finish_reason": null}]});
        out.push_str(&format!("data: {event}\n\n"));
    }
}
