//! Aggregation rules, against one read of their updates. The last column but one is the time on one thread against one read
//! on one thread.

use qres_fed::record::{Rule, Spec};
use qres_fed::update::{Outputs, aggregate};

use crate::harness::{best, floats, model, parent, read_all, report, spec, weighted};

/// A case: what it is called, the updates, their elements, and the rules.
type Case = (&'static str, usize, usize, Vec<Rule>);

fn with_f(id: &str, f: f64) -> Rule {
    Rule {
        id: id.into(),
        params: [("f".to_owned(), f)].into(),
    }
}

fn cases() -> Vec<Case> {
    let (large, small) = (10_000_000, 1_000_000);
    vec![
        ("median, N = 10, 10 M", 10, large, vec![Rule::new("median/1")]),
        ("median, N = 20, 10 M", 20, large, vec![Rule::new("median/1")]),
        (
            "trimmed mean f = 4, N = 20, 10 M",
            20,
            large,
            vec![with_f("trimmed-mean/1", 4.0)],
        ),
        ("Krum f = 4, N = 20, 10 M", 20, large, vec![with_f("krum/1", 4.0)]),
        (
            "geometric median, N = 20, 10 M",
            20,
            large,
            vec![Rule::new("geometric-median/1")],
        ),
        (
            "NNM + trimmed mean f = 4, N = 20, 1 M",
            20,
            small,
            vec![with_f("nnm/1", 4.0), with_f("trimmed-mean/1", 4.0)],
        ),
        (
            "trimmed mean f = 4 by samples, N = 20, 1 M",
            20,
            small,
            vec![with_f("trimmed-mean/1", 4.0)],
        ),
        ("Bulyan f = 4, N = 20, 1 M", 20, small, vec![with_f("bulyan/1", 4.0)]),
    ]
}

/// Measures each rule whose name has this part, on all threads and on one.
pub fn run(part: &str) {
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    for (name, clients, elements, rules) in cases().into_iter().filter(|case| case.0.contains(part)) {
        let spec = Spec {
            aggregation: rules,
            ..spec("none/1", elements)
        };
        let spec = Spec {
            rounds: qres_fed::record::RoundPolicy {
                min_contributions: clients as u32,
                ..spec.rounds.clone()
            },
            ..spec
        };
        let updates: Vec<Vec<u8>> = (1..=clients as u32).map(|seed| floats(seed, elements)).collect();
        let slices: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
        let mut fresh = weighted(&updates);
        if !name.contains("by samples") {
            fresh.iter_mut().for_each(|part| part.samples = 1);
        }
        let base = model(0, elements);
        let mut out = base.clone();
        let mut aggregated = || {
            aggregate(
                &spec,
                parent(&base),
                &fresh,
                &[],
                Outputs::of_weights(&mut &mut out[..]),
            )
            .expect("aggregates")
        };
        let took = best(|| read_all(&slices), &mut aggregated);
        report(name, clients * elements * 4, took);
        let alone = single.install(|| best(|| read_all(&slices), &mut aggregated));
        report("  the same on one thread", clients * elements * 4, alone);
    }
}
