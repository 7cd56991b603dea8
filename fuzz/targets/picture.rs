//! Picture files, as `uretinex image` reads them.
#![no_main]

#[allow(dead_code)] // The target needs the decoder alone.
#[path = "../../cli/src/picture.rs"]
mod picture;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| picture::check(bytes));
