//! Frames of any format, size, strides and lengths.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uretinex::fuzzing::frame(bytes));
