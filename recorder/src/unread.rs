//! What a command line does when nobody reads what it prints any more (`… | head`).

/// What a shell reports for SIGPIPE.
const NOBODY_READS: i32 = 128 + 13;

/// From here on a program whose output nobody reads ends without a word. `println!` panics then; the
/// signal that would end it instead would also end it for a socket that closes, whose errors it must
/// tell.
pub fn end_quietly_when_nobody_reads() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to std") && said.contains("Broken pipe") {
            std::process::exit(NOBODY_READS);
        }
        tell(panic);
    }));
}
