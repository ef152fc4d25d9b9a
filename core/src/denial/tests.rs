use std::collections::HashSet;

use super::*;

#[test]
fn codes_are_distinct_words() {
    let mut seen = HashSet::new();
    for reason in DenyReason::ALL {
        let code = reason.code();
        assert!(seen.insert(code), "{code} twice");
        assert!(
            code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{code}"
        );
    }
}

#[test]
fn a_token_reason_blames_the_token() {
    for reason in DenyReason::ALL {
        if reason.code().starts_with("token_") {
            assert_eq!(reason.blame(), Blame::Token, "{reason:?}");
        }
    }
}
