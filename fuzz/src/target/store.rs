//! Values of the store's tables: a value that was read is written as it was.

use qres_fed::id::{BlobId, CheckpointId, SpecId, SubmissionId};
use qres_fed::record::{Contribution, Proof, Report, Seal, Spec};
use qres_fed::round::SubmissionState;
use qres_store::value;
use qres_store::{HeardModel, KeyOutcome, StoreError, StoredKey, StoredState, StoredSubmission};

use crate::{Fixture, Target, record};

/// Reads a value; the first byte selects its table.
pub const VALUE: Target = Target {
    name: "store-value",
    run: |_, data| {
        let Some((table, data)) = data.split_first() else {
            return false;
        };
        match table {
            0 => same(data, value::to_submission, value::from_submission),
            1 => same(data, value::to_key, value::from_key),
            2 => same(data, value::to_state, value::from_state),
            3 => same(data, value::to_signed::<Spec>, value::from_signed),
            4 => same(data, value::to_signed::<Contribution>, value::from_signed),
            5 => same(data, value::to_signed::<Seal>, value::from_signed),
            7 => same(data, value::to_heard, value::from_heard),
            _ => value::to_canonical::<Proof>(data).is_ok(),
        }
    },
    seeds,
};

fn same<T>(data: &[u8], read: impl Fn(&[u8]) -> Result<T, StoreError>, write: impl Fn(&T) -> Vec<u8>) -> bool {
    let Ok(value) = read(data) else {
        return false;
    };
    // The comparison is not with `data`, because borsh reads a map in any order.
    let written = write(&value);
    let Ok(again) = read(&written) else {
        panic!("what was written is not read");
    };
    assert!(write(&again) == written, "other bytes than those written");
    true
}

fn seeds(fixture: &Fixture) -> Vec<Vec<u8>> {
    let me = &fixture.identity;
    let mut seeds = vec![];
    let mut add = |table: u8, bytes: Vec<u8>| seeds.push([&[table][..], &bytes].concat());
    for state in [
        SubmissionState::Pending,
        SubmissionState::Sealed {
            checkpoint: CheckpointId([5; 32]),
            weight_ppm: 250_000,
            confirmed: true,
            settled: false,
        },
        SubmissionState::Rejected {
            reason: "too old".into(),
        },
    ] {
        add(
            0,
            value::from_submission(&StoredSubmission {
                id: SubmissionId([1; 32]),
                spec: SpecId([2; 32]),
                model: "m/1".parse().expect("a name"),
                trainer: "t".into(),
                base: CheckpointId([3; 32]),
                samples: 5,
                delta: true,
                metrics: [("loss".to_owned(), f64::NAN), ("accuracy".to_owned(), 0.5)].into(),
                report: Report::default(),
                blob: BlobId([4; 32]),
                bytes: 100,
                personal: Some(BlobId([5; 32])),
                at_unix_ms: 1_700_000_000_000,
                final_unix_ms: Some(1_700_000_000_001),
                state,
                traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            }),
        );
    }
    for outcome in [
        KeyOutcome::Submission(SubmissionId([1; 32])),
        KeyOutcome::Model(SpecId([2; 32])),
    ] {
        add(
            1,
            value::from_key(&StoredKey {
                key: "k".into(),
                request: [7; 32],
                outcome,
                at_unix_ms: 1,
            }),
        );
    }
    add(
        2,
        value::from_state(&StoredState {
            spec: SpecId([2; 32]),
            publisher: me.node(),
            name: "scene".into(),
            sequence: 3,
            envelope: b"envelope".to_vec(),
        }),
    );
    add(3, value::from_signed(&me.sign(record::open_spec())));
    add(4, value::from_signed(&record::contribution(me, b"update", 5)));
    add(5, value::from_signed(&record::seal(me)));
    add(6, qres_fed::record::Canonical::to_canonical(&record::proof(me)));
    add(
        7,
        value::from_heard(&HeardModel {
            id: SpecId([2; 32]),
            name: "m/1".parse().expect("a name"),
            creator: me.node(),
            succeeds: None,
            spec_bytes: 100,
            signature: qres_fed::record::Signature([9; 64]),
            carrier: me.node(),
        }),
    );
    seeds
}
