//! Bodies that do not come, or do not leave, in one piece: each is whole, what follows it is the next
//! request, and a connection to the model that dies under one is replaced.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use penstock_loadgen::client::Call;

use crate::stack::{MODEL, Setup, Stack, chat_body, post_bytes};

/// Everything granted, nothing looked for: these tests are about bytes on their way.
const GRANT: &str = "[[grant]]\ngroups = [\"engineers\"]\nmodels = [\"*\"]\n\
                     operations = [\"infer\"]\n";

/// A pause in which a write arrives by itself.
const APART: Duration = Duration::from_millis(3);

fn blind(setup: &mut Setup) {
    setup.record = false;
    setup.policy = GRANT.to_owned();
}

/// A text of about so many bytes in which no two places are alike.
fn text(bytes: usize) -> String {
    (0..bytes / 8)
        .map(|number| format!("{number:07} "))
        .collect()
}

#[test]
fn a_large_body_arrives_byte_for_byte() {
    let stack = Stack::with(blind);
    let token = stack.token();
    // Around the size up to which head and body travel together, and far beyond it.
    for size in [3_900, 4_200, 65_000, 66_000, 3 << 20] {
        for chunk in [None, Some(10_007)] {
            let text = text(size);
            let mut call = Call::chat(MODEL, &text, false).token(&token);
            if let Some(bytes) = chunk {
                call = call.chunked(bytes);
            }
            assert_eq!(call.to(stack.address()).unwrap().status(), 200);
            let seen = stack.double.requests().pop().unwrap();
            assert_eq!(seen.json()["messages"][0]["content"], text);
            assert_eq!(
                seen.field("content-length"),
                Some(&*seen.body.len().to_string())
            );
        }
    }
    assert_eq!(
        stack.double.counters().connections,
        1,
        "large bodies, too, go on connections that are kept"
    );
}

#[test]
fn a_body_in_pieces_is_whole_and_what_follows_is_the_next_request() {
    let stack = Stack::with(blind);
    let body = chat_body(&text(40_000), false);
    let first = post_bytes(&stack.token(), "/v1/chat/completions", &body);
    let head = first.len() - body.len();
    let next = chat_body("next", false);
    let both = [
        first.clone(),
        post_bytes(&stack.token(), "/v1/chat/completions", &next),
    ]
    .concat();
    let end = first.len();
    for cuts in [
        vec![head],
        vec![head - 1, head, head + 1],
        vec![head + 1, head + 2, head + 16 * 1024, end - 1],
        vec![end - 1],
        vec![end],
        vec![head + 7, end, end + 1],
        vec![head + 20_000, end + 30],
        (head..end).step_by(3_001).collect(),
    ] {
        let mut connection = stack.connect();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([both.len()]) {
            connection.send(&both[from..cut]).unwrap();
            std::thread::sleep(APART);
            from = cut;
        }
        for _ in 0..2 {
            let answer = connection.read_response().unwrap();
            assert_eq!(answer.status(), 200, "{cuts:?}: {}", answer.text());
        }
        let seen = stack.double.requests();
        let [.., large, small] = &seen[..] else {
            panic!("two requests for {cuts:?}");
        };
        assert!(large.body == body.as_bytes(), "{cuts:?}");
        assert!(small.body == next.as_bytes(), "{cuts:?}");
    }
}

/// One request with a length, as it came; what of it fitted in `bytes_max`.
fn request(socket: &mut TcpStream, bytes_max: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut whole = bytes_max;
    while all.len() < whole {
        let mut some = vec![0; 4096.min(whole - all.len())];
        let count = socket.read(&mut some).expect("more of a request");
        assert!(count > 0, "a request with an end");
        all.extend_from_slice(&some[..count]);
        let Some(head) = all.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let fields = String::from_utf8_lossy(&all[..head]).to_lowercase();
        let length = fields.split("content-length: ").nth(1).expect("a length");
        let length: usize = length
            .lines()
            .next()
            .and_then(|line| line.parse().ok())
            .expect("a number");
        whole = bytes_max.min(head + 4 + length);
    }
    all
}

/// Of the second request the engine has read a part when it dies, so it cannot have begun on it: it
/// is sent once more, whole.
#[test]
fn a_kept_connection_that_dies_under_a_large_body_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stack = Stack::with(|setup| {
        blind(setup);
        setup.upstream_address = Some(address.to_string());
        setup.limits = "body = \"32MiB\"".to_owned();
    });
    let engine = std::thread::spawn(move || {
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let (mut kept, _) = listener.accept().unwrap();
        request(&mut kept, usize::MAX);
        kept.write_all(answer).unwrap();
        // The second request, on the same connection: with much of it unread, this is a reset.
        request(&mut kept, 100_000);
        drop(kept);
        let (mut fresh, _) = listener.accept().unwrap();
        let seen = request(&mut fresh, usize::MAX);
        fresh.write_all(answer).unwrap();
        seen
    });
    assert_eq!(stack.chat("hello").status(), 200);
    // More than the kernel's buffers take, so that the write is not over when the engine dies.
    let body = chat_body(&text(24 << 20), false);
    let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen = engine.join().unwrap();
    assert!(seen.ends_with(body.as_bytes()), "{} bytes", seen.len());
}
