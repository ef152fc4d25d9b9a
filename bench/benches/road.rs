//! Wall times by criterion: one group a stage, one for the whole decision.
//!
//! `cargo bench -p portcullis-bench` measures; without `--bench`, or with `--test`, each scenario runs once on small
//! inputs. Owns no scenario: they are the table's.

use std::error::Error;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use portcullis_bench::scenario::{Meter, SCENARIOS, Scale};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One scenario under criterion.
struct Timed<'g, 'c> {
    group: &'g mut BenchmarkGroup<'c, WallTime>,
    name: &'static str,
}

impl Meter for Timed<'_, '_> {
    fn measure(&mut self, operation: &mut dyn FnMut()) {
        self.group
            .bench_function(self.name, |bencher| bencher.iter(&mut *operation));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let scale = if has("--bench") && !has("--test") {
        Scale::Timed
    } else {
        Scale::Smoke
    };
    let mut criterion = Criterion::default().configure_from_args();
    for stage in SCENARIOS.chunk_by(|one, other| one.group == other.group) {
        let name = stage.first().map_or("", |scenario| scenario.group);
        let mut group = criterion.benchmark_group(name);
        for scenario in stage {
            let material = scenario.material(scale);
            let name = scenario.name;
            let mut meter = Timed {
                group: &mut group,
                name,
            };
            scenario.run(&material, scale, &mut meter)?;
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
