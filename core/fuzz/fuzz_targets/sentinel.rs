//! `portcullis_core::fuzzing::sentinel` on whatever the fuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert_eq!(portcullis_core::fuzzing::sentinel(bytes), Ok(()));
});
