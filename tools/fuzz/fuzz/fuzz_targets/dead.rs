#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pmiscope_fuzz::dead(data));
