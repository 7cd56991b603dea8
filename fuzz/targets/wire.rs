//! Fields of protocol buffers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uretinex::fuzzing::wire(bytes));
