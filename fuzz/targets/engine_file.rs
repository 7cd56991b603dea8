//! Files of the engine cache.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uretinex::fuzzing::engine_file(bytes));
