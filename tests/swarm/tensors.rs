//! Every kind of tensor survives the whole way.

use qres_api::pb;
use qres_tests::Swarm;
use qres_tests::weights::raw;

use crate::head;
use crate::rounds::node_ids;

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
    for codec in ["none/1", "bf16/1", "int8/1"] {
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
        // 2^53 + 7: a float would have lost it. The rule is the maximum.
        assert_eq!(at(0, 8), 9_007_199_254_740_999i64.to_le_bytes(), "{codec}");
        assert_eq!(at(1, 2), 0x4000u16.to_le_bytes(), "{codec}: 2.0 in bf16");
        assert_eq!(at(3, 1), [1], "{codec}: or");
        assert_eq!(at(4, 2), 0x3c00u16.to_le_bytes(), "{codec}: 1.0 in f16 never moved");
        let scalar = f64::from(f32::from_le_bytes(at(5, 4).try_into().unwrap()));
        let wide = f64::from_le_bytes(at(6, 8).try_into().unwrap());
        // int8 keeps a lone value as scale × 127, so within a unit in the last place of the scale; the others exactly.
        let bound = if codec == "int8/1" { 1e-6 } else { 0.0 };
        assert!(
            (scalar - 2.0).abs() <= bound && (wide - 2.0).abs() <= bound,
            "{codec}: {scalar} {wide}"
        );
        assert_eq!(nodes[0].wait_for_round(&name, 1).await.file, sealed.file);
    }
}
