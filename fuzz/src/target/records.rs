//! Signed records: no other bytes than the canonical ones are accepted, and a record that was checked is usable.

use qres_fed::record::{Canonical, Checkpoint, Contribution, Outline, Proof, Seal, Spec, StateRecord, is_printable};
use qres_fed::tensor::Layout;

use crate::{Target, record};

/// Reads and checks a [`Spec`], whole and as an [`Outline`].
pub const SPEC: Target = Target {
    name: "spec",
    run: |_, data| {
        let sound = canonical::<Spec>(data).filter(check);
        // The outline, which is kept of a spec of a model that was not joined, is read apart and must be judged the same.
        let outline = Outline::read(data).ok();
        assert_eq!(
            outline.map(|outline| (outline.name, outline.creator)),
            sound.as_ref().map(|spec| (spec.name.clone(), spec.creator)),
        );
        sound.is_some()
    },
    seeds: |_| {
        let specs = [record::spec(record::tensors(), "bf16/1"), record::open_spec()];
        specs.map(|spec| spec.to_canonical()).into()
    },
};

/// Reads the canonical bytes of a [`Contribution`].
pub const CONTRIBUTION: Target = Target {
    name: "contribution",
    run: |_, data| canonical::<Contribution>(data).is_some(),
    seeds: |fixture| {
        vec![
            record::contribution(&fixture.identity, b"update", 5)
                .record
                .to_canonical(),
        ]
    },
};

/// Reads the canonical bytes of a [`Seal`], and makes its [`Checkpoint`].
pub const SEAL: Target = Target {
    name: "seal",
    run: |_, data| {
        canonical::<Seal>(data).is_some_and(|seal| canonical::<Checkpoint>(&seal.checkpoint().to_canonical()).is_some())
    },
    seeds: |fixture| vec![record::seal(&fixture.identity).record.to_canonical()],
};

/// Reads the canonical bytes of a [`Checkpoint`].
pub const CHECKPOINT: Target = Target {
    name: "checkpoint",
    run: |_, data| canonical::<Checkpoint>(data).is_some(),
    seeds: |fixture| {
        record::checkpoints(&fixture.identity)
            .map(|checkpoint| checkpoint.to_canonical())
            .into()
    },
};

/// Reads and checks a [`Proof`] of equivocation.
pub const PROOF: Target = Target {
    name: "proof",
    run: |_, data| {
        canonical::<Proof>(data).is_some_and(|proof| {
            let right = proof.check().is_ok();
            // The proof made again from its parts, in the other order, must be the same.
            if right {
                let again = Proof::new(proof.second.clone(), proof.first.clone());
                assert_eq!(again.as_ref(), Ok(&proof));
            }
            right
        })
    },
    seeds: |fixture| vec![record::proof(&fixture.identity).to_canonical()],
};

/// Reads a [`StateRecord`] and checks its name.
pub const STATE: Target = Target {
    name: "state",
    run: |_, data| canonical::<StateRecord>(data).is_some_and(|state| StateRecord::check_name(&state.name).is_ok()),
    seeds: |fixture| vec![record::state(&fixture.identity, b"coded").to_canonical()],
};

fn canonical<T: Canonical>(data: &[u8]) -> Option<T> {
    let record = T::from_canonical(data).ok()?;
    assert!(record.to_canonical() == data, "other bytes than those read");
    Some(record)
}

fn check(spec: &Spec) -> bool {
    if let Err(error) = spec.check() {
        assert!(error.to_string().chars().all(is_printable), "{error:?}");
        return false;
    }
    let rules = [&spec.strategy, &spec.codec, &spec.privacy];
    let names = rules
        .into_iter()
        .chain(&spec.aggregation)
        .flat_map(|rule| std::iter::once(&rule.id).chain(rule.params.keys()));
    let mut names = names.chain(spec.tensors.iter().map(|tensor| &tensor.name));
    assert!(names.all(|name| name.chars().all(is_printable)));
    let layout = Layout::of(&spec.tensors);
    assert!(layout.slots().len() == spec.tensors.len() && layout.file_bytes() < 1 << 45);
    assert!(spec.quorum() > 0);
    true
}
