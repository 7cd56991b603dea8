//! The text of `model.toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uretinex::fuzzing::manifest(bytes));
