//! Every kind of tensor survives the whole way from submit to aggregation.

use qres_api::pb::{self, SubmissionState};
use qres_tests::weights::raw;
use qres_tests::{Node, Options, Swarm};
use tonic_types::StatusExt;

use crate::rounds::node_ids;
use crate::{head, vector_model};

type Tensor = (&'static str, &'static str, &'static [u64], Vec<u8>);

fn file(float: f32, counter: i64, flag: u8) -> Vec<u8> {
    let bf16 = |v: f32| ((v.to_bits() >> 16) as u16).to_le_bytes();
    let mut tensors: Vec<Tensor> = vec![
        ("bn.num_batches_tracked", "I64", &[], counter.to_le_bytes().to_vec()),
        ("emb", "BF16", &[2], [bf16(float), bf16(-float)].concat()),
        ("empty", "F32", &[0, 3], vec![]),
        ("flag", "BOOL", &[1], vec![flag]),
        ("half", "F16", &[1], 0x3c00u16.to_le_bytes().to_vec()),
        ("scalar", "F32", &[], float.to_le_bytes().to_vec()),
        ("wide", "F64", &[1], f64::from(float).to_le_bytes().to_vec()),
    ];
    // Trainers may write their tensors in any order.
    tensors.reverse();
    raw(&tensors)
}

#[tokio::test(flavor = "multi_thread")]
async fn integers_bf16_scalars_and_empty_tensors_survive_submit_coding_and_aggregation() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    for codec in ["none/1", "bf16/1", "f16/1", "int8/1"] {
        let name = format!("kinds-{}", codec.replace('/', "-"));
        let request = pb::CreateModelRequest {
            name: name.clone(),
            codec: Some(pb::Rule {
                id: codec.into(),
                ..Default::default()
            }),
            members: node_ids(&nodes).await,
            data: file(0.0, 9_007_199_254_740_993, 0).into(),
            ..Default::default()
        };
        let base = head(&nodes[0].create(request).await.unwrap());
        nodes[1].join(&name).await;
        nodes[0]
            .submit(&name, &base, 1, &file(1.0, 9_007_199_254_740_995, 0))
            .await
            .unwrap();
        nodes[1].wait_for_round(&name, 0).await;
        nodes[1]
            .submit(&name, &base, 1, &file(3.0, 9_007_199_254_740_999, 1))
            .await
            .unwrap();
        let sealed = nodes[1].wait_for_round(&name, 1).await;
        let schema = qres_fed::tensor::read_schema(&sealed.file).unwrap();
        let names: Vec<_> = schema.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "bn.num_batches_tracked",
                "emb",
                "empty",
                "flag",
                "half",
                "scalar",
                "wide"
            ]
        );
        let placement = qres_fed::tensor::check_weights(&schema, &sealed.file).unwrap();
        let at = |i: usize, n: usize| {
            let start = usize::try_from(placement.offsets[i]).unwrap();
            sealed.file[start..start + n].to_vec()
        };
        // 2^53 + 7: a float cannot hold this value. The rule for integers is the maximum.
        assert_eq!(at(0, 8), 9_007_199_254_740_999i64.to_le_bytes(), "{codec}");
        assert_eq!(at(1, 2), 0x4000u16.to_le_bytes(), "{codec}: 2.0 in bf16");
        assert_eq!(at(3, 1), [1], "{codec}: or");
        assert_eq!(at(4, 2), 0x3c00u16.to_le_bytes(), "{codec}: 1.0 in f16 never moved");
        let scalar = f64::from(f32::from_le_bytes(at(5, 4).try_into().unwrap()));
        let wide = f64::from_le_bytes(at(6, 8).try_into().unwrap());
        // int8/1 keeps a single value as scale × 127, so within one unit in the last place of the scale. The others are exact.
        let bound = if codec == "int8/1" { 1e-6 } else { 0.0 };
        assert!(
            (scalar - 2.0).abs() <= bound && (wide - 2.0).abs() <= bound,
            "{codec}: {scalar} {wide}"
        );
        assert_eq!(nodes[0].wait_for_round(&name, 1).await.file, sealed.file);
    }
}

/// Returns a file of one f16 with a magnitude of 32,768 or more, where such values are 32 apart.
fn half(value: i32) -> Vec<u8> {
    let sign = if value < 0 { 0x8000 } else { 0 };
    let bits = sign | 30 << 10 | (value.unsigned_abs() / 32 - 1024);
    raw(&[("w", "F16", &[1], u16::try_from(bits).unwrap().to_le_bytes().to_vec())])
}

/// Submits the work of one trainer to a [`Node`], on the first base.
async fn submit_half(node: &Node, trainer: &str, samples: u64, base: &str, value: i32) -> pb::Submission {
    let header = pb::SubmitWeightsRequest {
        model: "half".into(),
        base: base.into(),
        trainer: trainer.into(),
        samples,
        ..Default::default()
    };
    node.submit_with(header, &half(value)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_its_dtype_cannot_hold_is_rejected_with_the_figures_and_disturbs_no_other_trainer() {
    let options = Options {
        arguments: ["--trainers", "2"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let swarm = Swarm::start_with(1, &options).await;
    let node = &swarm.nodes()[0];
    let request = pb::CreateModelRequest {
        data: half(-60_000).into(),
        ..vector_model("half", &[])
    };
    let base = head(&node.create(request).await.unwrap());
    // The step from -60,000 to 60,000 is larger than f16 can hold. In the mean of both trainers it is still too large.
    let sound = submit_half(node, "sound", 1, &base, -59_008).await;
    let wild = submit_half(node, "wild", 1000, &base, 60_000).await;
    let rejected = node.submission(&wild.id, true).await.unwrap();
    let expected = "tensor \"w\": the update changes an element by 1.2e5, none/1 of F16 holds at most 6.5504e4";
    assert_eq!(rejected.state(), SubmissionState::Rejected);
    assert!(rejected.reason.starts_with(expected), "{}", rejected.reason);
    // A trainer that waits for the next head gets the error, and does not wait forever.
    let request = pb::FetchWeightsRequest {
        model: "half".into(),
        after: base.clone(),
        trainer: Some("wild".into()),
        ..Default::default()
    };
    let refused = node.fetch_with(request).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "SUBMISSION_REJECTED");
    assert!(refused.message().contains(expected), "{}", refused.message());
    assert_eq!(
        node.submission(&sound.id, false).await.unwrap().state(),
        SubmissionState::Pending
    );
    // The rejected trainer may try again on the same base, and then the round holds the work of both.
    submit_half(node, "wild", 1, &base, -57_024).await;
    let next = node.wait_for_round("half", 1).await;
    assert_eq!(next.file.last_chunk::<2>(), half(-58_016).last_chunk());
    assert_eq!(
        node.submission(&sound.id, true).await.unwrap().state(),
        SubmissionState::Sealed
    );
}
