use super::{Bounds, Search, SearchError, Tried};

fn bounds(from: f64, to: f64, precision: f64) -> Bounds {
    Bounds { from, to, precision }
}

/// Searches a target that holds up to `limit` calls a second; the rates that were tried, and what was found.
fn search(limit: f64, bounds: Bounds) -> (Vec<f64>, Option<f64>) {
    let mut search = Search::new(bounds).unwrap();
    let mut rates = Vec::new();
    while let Some(rate) = search.next() {
        assert!(rates.len() < 100, "the search does not end");
        rates.push(rate);
        let held = rate <= limit;
        search.tried(&if held {
            Tried::Held
        } else {
            Tried::Failed("too slow".to_owned())
        });
    }
    (rates, search.best())
}

#[test]
fn finds_the_limit_within_its_precision() {
    for limit in [100.0, 777.0, 1_000.0, 5_321.0, 39_999.0] {
        let (_, best) = search(limit, bounds(100.0, 40_000.0, 0.05));
        let best = best.unwrap();
        assert!(limit / 1.05 <= best && best <= limit, "{best} for {limit}");
    }
}

#[test]
fn goes_down_when_the_first_rate_fails() {
    let (rates, best) = search(90.0, bounds(1_000.0, 2_000.0, 0.1));
    assert_eq!(rates.get(..3), Some([1_000.0, 1_000.0, 500.0].as_slice()));
    assert!((81.0..=90.0).contains(&best.unwrap()));
}

#[test]
fn ends_at_the_bounds() {
    assert_eq!(
        search(1e9, bounds(100.0, 450.0, 0.05)),
        (vec![100.0, 200.0, 400.0, 450.0], Some(450.0))
    );
    let (rates, best) = search(0.5, bounds(4.0, 8.0, 0.05));
    assert_eq!((rates, best), (vec![4.0, 4.0, 2.0, 2.0, 1.0, 1.0], None));
}

#[test]
fn one_hiccup_is_no_limit() {
    let mut search = Search::new(bounds(100.0, 100.0, 0.05)).unwrap();
    search.tried(&Tried::Failed("a hiccup".to_owned()));
    assert_eq!((search.next(), search.best()), (Some(100.0), None));
    search.tried(&Tried::Held);
    assert_eq!((search.next(), search.best()), (None, Some(100.0)));
}

#[test]
fn what_cannot_be_searched_is_refused() {
    for wrong in [bounds(0.0, 1.0, 0.1), bounds(2.0, 1.0, 0.1), bounds(f64::NAN, 1.0, 0.1)] {
        assert_eq!(Search::new(wrong), Err(SearchError::Bounds));
    }
    for precision in [0.0, 0.004, 0.51, f64::NAN] {
        assert_eq!(Search::new(bounds(1.0, 2.0, precision)), Err(SearchError::Precision));
    }
}
