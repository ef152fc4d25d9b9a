//! How refusals may be told.

use portcullis_core::denial::DenyStyle;

use super::{check, load_with};

#[test]
fn refusals_are_told_in_http_unless_another_style_is_written() {
    let style = |line: &str| {
        let config = load_with("    tools:", &format!("{line}    tools:")).unwrap();
        config.servers[0].build().unwrap().deny_style()
    };
    assert_eq!(style(""), DenyStyle::Http);
    assert_eq!(style("    deny: {style: http}\n"), DenyStyle::Http);
    assert_eq!(style("    deny: {style: tool_error}\n"), DenyStyle::ToolError);
    assert_eq!(style("    deny: {style: hidden}\n"), DenyStyle::Hidden);
    check(
        "    tools:",
        "    deny: {styles: http}\n    tools:",
        r#"
error[E0101 unknown_key]: unknown key `styles`
  --> gate.yaml:16:12
    |
 16 |     deny: {styles: http}
    |            ^^^^^^
  = nearest: `style`
  = help: keys here: `style`
"#,
    );
    for line in [
        "deny: {}",
        "deny: {style: silent}",
        "deny: {style: null}",
        "deny: hidden",
    ] {
        let told = load_with("    tools:", &format!("    {line}\n    tools:"))
            .map(|_| ())
            .unwrap_err();
        assert!(told.contains(" --> gate.yaml:16:"), "{line}: {told}");
    }
}
