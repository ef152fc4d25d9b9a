//! `portcullis_core::fuzzing::reply` on whatever the fuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert_eq!(portcullis_core::fuzzing::reply(bytes), Ok(()));
});
