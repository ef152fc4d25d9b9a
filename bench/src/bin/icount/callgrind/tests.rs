use super::*;

#[test]
fn the_total_is_the_summary_of_the_report() {
    for (report, expected) in [
        (
            "version: 1\nevents: Ir\nsummary: 48213\n\nfn=(1) x\n1 2\ntotals: 48213\n",
            Some(48_213),
        ),
        ("events: Ir\nsummary: 0\n", Some(0)),
        ("events: Ir Dr\nsummary: 7 9\n", Some(7)),
        ("events: Ir\n", None),
        ("summary:\n", None),
        ("summary: many\n", None),
        ("", None),
    ] {
        assert_eq!(summary(report), expected, "{report:?}");
    }
}

#[test]
fn a_process_that_fails_gives_no_count() {
    let error = finished(Command::new("false").arg("x"), "false").unwrap_err();
    assert!(
        matches!(&error, MeasureError::Process { what, .. } if what == "false"),
        "{error}"
    );
    let error = finished(&mut Command::new("/no/such/valgrind"), "nothing").unwrap_err();
    assert!(error.to_string().contains("install"), "{error}");
}
