use super::*;
use crate::request::{ModelRef, UploadOptions};

fn submit() -> Submit {
    Submit {
        model: ModelRef {
            name: "m".parse().unwrap(),
            id: None,
        },
        base: None,
        trainer: "t".into(),
        samples: 10,
        kind: SubmissionKind::Weights,
        metrics: [("loss".to_owned(), 0.5)].into(),
        evaluation_samples: None,
        steps: None,
        upload: UploadOptions::default(),
    }
}

#[test]
fn what_a_trainer_says_of_its_work_is_checked_by_field() {
    let blamed = |mut submit: Submit| check(&mut submit).err().and_then(|error| error.field);
    let cases = [
        (None, submit()),
        (Some("samples"), Submit { samples: 0, ..submit() }),
        (
            Some("samples"),
            Submit {
                samples: SAMPLES_MAX + 1,
                ..submit()
            },
        ),
        (
            Some("trainer"),
            Submit {
                trainer: "x".repeat(129),
                ..submit()
            },
        ),
        (
            None,
            Submit {
                metrics: [("nan".to_owned(), f64::NAN)].into(),
                ..submit()
            },
        ),
        (
            Some("metrics"),
            Submit {
                metrics: [("n".repeat(129), 0.0)].into(),
                ..submit()
            },
        ),
        (
            Some("metrics"),
            Submit {
                metrics: (0..65).map(|n| (n.to_string(), 0.0)).collect(),
                ..submit()
            },
        ),
    ];
    for (field, submit) in cases {
        assert_eq!(blamed(submit).as_deref(), field);
    }
    for steps in [0.0, 0.5, -1.0, f64::NAN, f64::INFINITY, 2e12] {
        let steps = Some(steps);
        assert_eq!(
            blamed(Submit { steps, ..submit() }).as_deref(),
            Some("steps"),
            "{steps:?}"
        );
    }
    for samples in [0, SAMPLES_MAX + 1] {
        let evaluation_samples = Some(samples);
        let submit = Submit {
            evaluation_samples,
            ..submit()
        };
        assert_eq!(blamed(submit).as_deref(), Some("evaluation_samples"));
    }
    let mut unnamed = Submit {
        trainer: String::new(),
        ..submit()
    };
    check(&mut unnamed).unwrap();
    assert_eq!(unnamed.trainer, "default");
}

#[test]
fn a_request_is_its_model_base_trainer_samples_kind_and_bytes() {
    let ids = (SpecId([1; 32]), CheckpointId([2; 32]), BlobId([3; 32]));
    let report = |submit: &Submit| Report {
        steps: submit.steps,
        metrics: vec![],
    };
    let digest = |submit: &Submit| request_digest((submit, &report(submit)), &ids.0, &ids.1, &ids.2);
    let plain = Report::default();
    let first = digest(&submit());
    let others = [
        digest(&Submit {
            trainer: "u".into(),
            ..submit()
        }),
        digest(&Submit {
            samples: 11,
            ..submit()
        }),
        digest(&Submit {
            kind: SubmissionKind::Delta,
            ..submit()
        }),
        digest(&Submit {
            steps: Some(1.0),
            ..submit()
        }),
        request_digest((&submit(), &plain), &SpecId([9; 32]), &ids.1, &ids.2),
        request_digest((&submit(), &plain), &ids.0, &CheckpointId([9; 32]), &ids.2),
        request_digest((&submit(), &plain), &ids.0, &ids.1, &BlobId([9; 32])),
    ];
    assert!(others.iter().all(|other| *other != first));
    // The metrics and the way of sending may differ when a request is sent again.
    let again = Submit {
        metrics: [].into(),
        upload: UploadOptions {
            key: Some("k".into()),
            offset: 7,
            ..UploadOptions::default()
        },
        ..submit()
    };
    assert_eq!(digest(&again), first);
}
