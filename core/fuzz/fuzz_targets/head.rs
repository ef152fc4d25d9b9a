//! The watch over the framing of a connection on whatever the fuzzer makes up. It is the proxy's and stands in a file of
//! its own, which needs nothing else of the proxy.
#![no_main]

#[expect(dead_code, reason = "the target feeds one connection")]
#[path = "../../../proxy/src/ingress/framing.rs"]
mod framing;
#[path = "../head.rs"]
mod head;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert_eq!(head::check(bytes), Ok(()));
});
