use super::Pinning;

#[test]
fn targets_and_generator_are_kept_apart_where_there_is_room() {
    let pinning = |targets: &[usize], generator: &[usize]| Pinning {
        targets: targets.to_vec(),
        generator: generator.to_vec(),
    };
    let cases = [
        (vec![0, 1], pinning(&[0], &[1])),
        (vec![2, 3, 5], pinning(&[2], &[3, 5])),
        (vec![7], Pinning::none()),
        (vec![], Pinning::none()),
    ];
    for (allowed, expected) in cases {
        assert_eq!(Pinning::of(allowed.clone()), expected, "{allowed:?}");
    }
}

#[test]
fn the_report_says_who_runs_where() {
    let bound = Pinning::of(vec![0, 1, 2]).notes();
    assert!(
        bound[0].contains("processor 0") && bound[0].ends_with("1,2"),
        "{bound:?}"
    );
    assert!(Pinning::none().notes()[0].starts_with("nothing is bound"));
}
