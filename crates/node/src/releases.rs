//! The noisy updates that this node made in one run of a model: their number, on which the ε of its data depends.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use qres_fed::id::SpecId;
use qres_fed::privacy::Gaussian;
use qres_fed::record::Spec;
use qres_store::{StoredReleases, Write};

/// The count of noisy updates.
#[derive(Debug, Default)]
pub struct Releases {
    made: AtomicU64,
    /// Counted updates that were never made, because the disk failed. Held by the job that counts: two at once would take the same
    /// number.
    spare: Mutex<u64>,
}

impl Releases {
    /// Creates the count of a model in which this node has made so many.
    pub fn new(made: u64) -> Self {
        Self {
            made: AtomicU64::new(made),
            spare: Mutex::default(),
        }
    }

    /// Returns the number of updates so far.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Raises the count to what a contribution of this node says. Returns true if the count was lower, because the data directory is
    /// younger than the contribution.
    pub fn raise(&self, releases: u64) -> bool {
        self.made.fetch_max(releases, Ordering::Relaxed) < releases
    }

    /// Counts one more update, before there is one, once `store` has stored the number. Returns the number; `None` if the model's
    /// budget is spent. An update that then fails counts all the same, unless it is [given back](Self::give_back). Blocks while another
    /// job counts.
    ///
    /// # Errors
    /// Returns the error of `store`; no update may be made then.
    pub fn count<E>(&self, gaussian: &Gaussian, store: impl FnOnce(u64) -> Result<(), E>) -> Result<Option<u64>, E> {
        let mut spare = self.spare.lock();
        let made = self.made();
        if let Some(rest) = spare.checked_sub(1) {
            *spare = rest;
            return Ok(Some(made));
        }
        if !gaussian.may_release(made) {
            return Ok(None);
        }
        store(made + 1)?;
        self.raise(made + 1);
        Ok(Some(made + 1))
    }

    /// Takes back an update that was counted, and that the disk then did not take: a full disk must not spend the budget with each
    /// new try. Failures that depend on the data are not given back, because the output may not depend on them.
    pub fn give_back(&self) {
        *self.spare.lock() += 1;
    }
}

/// Returns the write of a count of a model with this noise.
pub fn write(spec: &Spec, id: SpecId, gaussian: &Gaussian, count: u64) -> Write {
    Write::Releases(StoredReleases {
        spec: id,
        model: spec.name.clone(),
        noise_multiplier: gaussian.noise_multiplier,
        count,
    })
}

/// Returns the count with which a model begins, from the counts that are on the disk: its own one, and for a successor the largest
/// one of its name, whichever of the specs before it this node has joined. Updates with other noise count as those of the
/// model's own noise that cost the same.
pub fn inherited(spec: &Spec, id: SpecId, gaussian: &Gaussian, stored: &[StoredReleases]) -> u64 {
    let own_run = |row: &&StoredReleases| row.spec == id || spec.succeeds.is_some() && row.model == spec.name;
    let counts = stored.iter().filter(own_run);
    counts
        .map(|row| gaussian.equivalent(row.count, row.noise_multiplier))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use qres_fed::id::NodeId;
    use qres_fed::privacy;
    use qres_fed::record::{Membership, Rule};

    use super::*;

    fn noisy(succeeds: Option<SpecId>, noise: f64, epsilon_max: f64) -> Spec {
        let numbers = [("clip", 1.0), ("noise_multiplier", noise), ("epsilon_max", epsilon_max)];
        Spec {
            succeeds,
            privacy: Rule {
                id: "gaussian/1".into(),
                params: numbers.map(|(name, number)| (name.to_owned(), number)).into(),
            },
            ..crate::tests::spec("m", Membership::Open, 1, NodeId([1; 32]))
        }
    }

    fn row(spec: SpecId, model: &str, noise_multiplier: f64, count: u64) -> StoredReleases {
        StoredReleases {
            spec,
            model: model.parse().unwrap(),
            noise_multiplier,
            count,
        }
    }

    #[test]
    fn a_count_is_stored_before_an_update_and_ends_with_the_budget() {
        let gaussian = privacy::gaussian(&noisy(None, 1.0, 12.0)).unwrap();
        let releases = Releases::new(0);
        let mut stored = vec![];
        while let Some(number) = releases
            .count(&gaussian, |number| {
                stored.push(number);
                Ok::<_, ()>(())
            })
            .unwrap()
        {
            assert_eq!(stored.last(), Some(&number));
        }
        assert!(
            stored.len() > 1 && gaussian.epsilon(stored.len() as u64 + 1) > 12.0,
            "{stored:?}"
        );
        let failing = Releases::new(0);
        assert_eq!(failing.count(&gaussian, |_| Err(())), Err(()));
        assert_eq!(failing.made(), 0, "nothing is released while the disk takes nothing");
    }

    #[test]
    fn jobs_at_once_take_different_numbers() {
        let gaussian = privacy::gaussian(&noisy(None, 1e6, 1e6)).unwrap();
        let releases = Releases::new(0);
        let taken = Mutex::new(std::collections::BTreeSet::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let number = releases.count(&gaussian, |_| Ok::<_, ()>(())).unwrap();
                        assert!(taken.lock().insert(number), "{number:?} twice");
                    }
                });
            }
        });
        assert_eq!(releases.made(), 400);
    }

    #[test]
    fn a_successor_goes_on_from_any_count_of_its_name() {
        let (a, b) = (SpecId([1; 32]), SpecId([2; 32]));
        let inherited = |spec: &Spec, stored: &[StoredReleases]| {
            super::inherited(spec, spec.id(), &privacy::gaussian(spec).unwrap(), stored)
        };
        let first = noisy(None, 2.0, 9.0);
        let stored = [row(a, "m", 2.0, 20), row(b, "m", 2.0, 7), row(b, "other", 2.0, 90)];
        assert_eq!(inherited(&first, &stored), 0, "a new model begins a new account");
        let own = [&stored[..], &[row(first.id(), "m", 2.0, 3)]].concat();
        assert_eq!(inherited(&first, &own), 3);
        // The spec between is none that this node was in.
        assert_eq!(inherited(&noisy(Some(SpecId([3; 32])), 2.0, 9.0), &stored), 20);
        // One release with the deviation 1 costs as much as four with the deviation 2.
        let other = [row(a, "m", 1.0, 5)];
        assert_eq!(inherited(&noisy(Some(a), 2.0, 9.0), &other), 20);
        assert_eq!(inherited(&noisy(Some(a), 1e3, 9.0), &other), 5_000_000);
    }

    #[test]
    fn an_old_data_directory_learns_from_the_node_s_own_contributions() {
        let releases = Releases::new(31);
        assert!(releases.raise(57) && !releases.raise(40));
        assert_eq!(releases.made(), 57);
    }

    /// A disk that is full for an hour fails every update that is tried meanwhile.
    #[test]
    fn updates_that_the_disk_does_not_take_cost_one_release_together() {
        let gaussian = privacy::gaussian(&noisy(None, 1.0, 12.0)).unwrap();
        let releases = Releases::new(0);
        for _ in 0..1000 {
            assert_eq!(releases.count(&gaussian, |_| Ok::<_, ()>(())), Ok(Some(1)));
            releases.give_back();
        }
        assert_eq!(releases.count(&gaussian, |_| Ok::<_, ()>(())), Ok(Some(1)));
        assert_eq!(releases.count(&gaussian, |_| Ok::<_, ()>(())), Ok(Some(2)));
    }
}
