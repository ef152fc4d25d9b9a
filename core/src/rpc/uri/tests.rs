use super::{is_normal, is_normal_template};

#[test]
fn one_spelling_of_a_resource_is_normal() {
    for uri in [
        "file:///docs/a.md",
        "file:///docs/%20a.md",
        "file:///docs/caf%C3%A9.md",
        "file:///docs/100%25.md",
        "file://server/docs/a",
        "file:///docs/...",
        "file:///docs/.hidden",
        "https://docs.example/a?b=../c",
        "https://docs.example:8443/",
        "https://[2001:db8::1]/",
        "https://[2001:db8::1]:8443/",
        "note://Inbox/Today",
        "test://static-text",
        "urn:isbn:0451450523",
        "git+ssh.v2-x:a",
    ] {
        assert!(is_normal(uri), "{uri}");
        assert!(is_normal_template(uri), "{uri}");
    }
}

#[test]
fn other_spellings_of_the_same_resource_are_none() {
    for uri in [
        "",
        "docs",
        "/docs/a.md",
        "file:",
        ":///docs",
        "1file:///docs",
        "File:///docs/a.md",
        "FILE:///docs/a.md",
        "file :///docs/a.md",
        // Dot segments, plain, escaped, with parameters.
        "file:///docs/../secret",
        "file:///docs/..",
        "file:///docs/./a.md",
        "file:///./a",
        "file:///docs/..;x/secret",
        "file:///docs/x?/../../secret",
        "https://docs.example/a?b/../c",
        // What readers drop or pass over.
        "file:///docs/a#b",
        "https://docs.example/a?b=../c#../d",
        "file:///docs/a?b",
        "file:///docs/a//b",
        "file:////docs/a",
        "urn:..",
        "file:///docs/%2E%2E/secret",
        "file:///docs/%2e%2e/secret",
        "file:///docs/.%2E/secret",
        // Slashes and backslashes.
        "file:///docs%2Fa.md",
        "file:///docs%2fa.md",
        "file:///docs\\a.md",
        "file:///docs%5Ca.md",
        // Escapes of what needs none, broken, of two steps, of no text.
        "file:///docs/%61.md",
        "file:///docs/%7E",
        "file:///docs/%c3%a9",
        "file:///docs/%",
        "file:///docs/%2",
        "file:///docs/%GG",
        "file:///docs/%+1",
        "file:///docs/%252E%252E/secret",
        "file:///docs/%252e",
        "file:///docs/%00",
        "file:///docs/%0A",
        "file:///docs/%7F",
        "file:///docs/%C0%AE",
        "file:///docs/%E0%80%AF",
        "file:///docs/%FF",
        "file:///docs/%C3",
        // Spaces, control characters, letters beyond ASCII, what a URI never has.
        "file:///docs/a b",
        "file:///docs/a\tb",
        "file:///docs/a\n",
        "file:///docs/a\0",
        " file:///docs/a",
        "file:///docs/a ",
        "file:///docs/é",
        "file:///docs/\u{ff0e}\u{ff0e}/secret",
        "file:///docs/<a>",
        "file:///docs/a|b",
        "file:///docs/{a}",
        "file:///docs/a^b",
        "file:///docs/`a`",
        "file:///docs/\"a\"",
        // The web's schemes, and what readers make of them.
        "file:/docs/a.md",
        "file:docs/a.md",
        "file://localhost/docs/a.md",
        "file://Server/docs/a",
        "https:/docs.example/a",
        "https:docs.example/a",
        "https:///docs.example/a",
        "https://Docs.example/a",
        "https://docs.example:443/a",
        "https://docs.example:/a",
        "http://docs.example:80/a",
        "https://user@docs.example/a",
        "https://user:word@docs.example/a",
        "https://docs%2Eexample/a",
        "https://docs.exampl%C3%A9/a",
    ] {
        assert!(!is_normal(uri), "{uri:?}");
    }
}

#[test]
fn a_template_has_expressions_and_else_the_same_form() {
    for uri in [
        "file:///{path}",
        "file:///docs/{+path}",
        "https://docs.example/{a}/b{?c,d}",
        "note://{id}",
    ] {
        assert!(is_normal_template(uri), "{uri}");
        assert!(!is_normal(uri), "{uri}");
    }
    for uri in [
        "File:///{path}",
        "file:///../{path}",
        "file:///{path}/..",
        "file:///%2e{path}",
        "{scheme}://a",
    ] {
        assert!(!is_normal_template(uri), "{uri}");
    }
}
