//! Who calls: names and accounts, from the sample policy's generated subjects or from a file of tokens.
//!
//! Owns [`Subject`]. Holds no token.

use portcullis_fixtures::policy::subject_name;

/// Whoever calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// The `sub` of its token, or a name made up for a token from a file.
    pub name: String,
    /// What stands for `{subject_index}`: the number of a generated subject, else the place in the pool.
    pub index: usize,
    /// The accounts that are its own; none when nobody said.
    pub accounts: Vec<String>,
}

/// The first `count` generated subjects of the sample policy whose group and role allow the sales tools: three of every
/// four, since each fourth is a developer.
pub fn sample(count: usize) -> Vec<Subject> {
    (0..count)
        .map(|place| {
            let index = sample_index(place);
            Subject {
                name: subject_name(index),
                index,
                accounts: (0..5).map(|account| format!("acc-{index}-{account}")).collect(),
            }
        })
        .collect()
}

/// How many generated subjects the data of a policy must have ([`portcullis_fixtures::policy::sample_data_of`]) so that
/// [`sample`] of `count` stands in it.
pub const fn sample_population(count: usize) -> usize {
    match count {
        0 => 0,
        _ => sample_index(count - 1) + 1,
    }
}

/// The number of the generated subject at `place`: of each four, the second is left out.
const fn sample_index(place: usize) -> usize {
    let within = place % 3;
    place / 3 * 4 + if within == 0 { 0 } else { within + 1 }
}

#[cfg(test)]
mod tests {
    use portcullis_fixtures::policy::{TENANT, sample_data_of};
    use serde_json::Value;

    use super::{sample, sample_population};

    #[test]
    fn sampled_subjects_stand_in_the_data_with_a_sales_group_and_their_accounts() {
        for count in [1, 2, 3, 4, 2_000] {
            let subjects = sample(count);
            let last = subjects.last().unwrap();
            assert_eq!(sample_population(count), last.index + 1);
            let data: Value = serde_json::from_str(&sample_data_of("i", sample_population(count))).unwrap();
            let rows = data["subjects"][TENANT]["i"].as_object().unwrap();
            for subject in &subjects {
                let row = &rows[&subject.name];
                assert_eq!(row["groups"][0], "sales", "{}", subject.name);
                assert_eq!(row["accounts"], Value::from(subject.accounts.clone()));
            }
        }
        assert_eq!(sample_population(0), 0);
        assert_eq!(sample_population(2_000), 2_667);
    }
}
