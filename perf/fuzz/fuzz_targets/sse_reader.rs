#![no_main]
libfuzzer_sys::fuzz_target!(init: penstock_fuzz::load_policies(), |data: &[u8]| {
    penstock_fuzz::sse_reader(data)
});
