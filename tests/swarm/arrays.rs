//! Arrays of the typed Rust client on the way to a node and back.

use qres_api::client::Client;
use qres_api::pb;
use qres_fed::half::f16;
use qres_fed::ndarray::{Array, array};
use qres_fed::tensor::{Tensor, TensorView, Tensors};
use qres_tests::Swarm;

use crate::vector_model;

#[tokio::test(flavor = "multi_thread")]
async fn arrays_of_every_dtype_go_to_a_node_and_come_back_in_any_order_of_their_elements() {
    let swarm = Swarm::start(1).await;
    let client = Client::connect(swarm.daemons[0].grpc.clone()).await.unwrap();
    let whole = Array::from_shape_fn((300, 1000), |(i, j)| (i * 1000 + j) as f32);
    let tensors: Tensors = [
        ("flag", Tensor::of(array![true, false])),
        ("half", Tensor::of(array![f16::from_f32(0.5)])),
        ("count", Tensor::of(array![[7i64, -7]])),
        ("wide", Tensor::of(array![1e300f64])),
        // More than one message, and turned: its elements do not lie in rows.
        ("turned", Tensor::of(whole.clone().reversed_axes())),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .into();
    let header = pb::CreateModelRequest {
        data: vec![].into(),
        ..vector_model("arrays", &[])
    };
    let model = client.create_model_of(header, &tensors).await.unwrap();
    assert_eq!(model.tensor_count, 5);
    let request = pb::FetchWeightsRequest {
        model: "arrays".into(),
        ..Default::default()
    };
    let (head, fetched) = client.fetch_tensors(request).await.unwrap();
    assert_eq!(fetched, tensors);

    // A delta of views: twice the weights.
    let mut delta: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.view()))
        .collect();
    delta.push(("turned", whole.t().into()));
    let header = pb::SubmitWeightsRequest {
        model: "arrays".into(),
        base: head.checkpoint.id.clone(),
        samples: 1,
        kind: pb::SubmissionKind::Delta.into(),
        ..Default::default()
    };
    client.submit_tensors(header, delta).await.unwrap();
    let request = pb::FetchWeightsRequest {
        model: "arrays".into(),
        after: head.checkpoint.id,
        ..Default::default()
    };
    let (_, next) = client.fetch_tensors(request).await.unwrap();
    assert_eq!(
        next["turned"].array::<f32>().unwrap(),
        (2.0 * &whole).reversed_axes().into_dyn()
    );
    assert_eq!(next["wide"].array::<f64>().unwrap(), array![2e300].into_dyn());
    let wrong = next["wide"].array::<f32>().unwrap_err().to_string();
    assert!(wrong.contains("F32 expected, F64 found"), "{wrong}");

    // What the model does not have is refused by name.
    let header = pb::SubmitWeightsRequest {
        model: "arrays".into(),
        samples: 1,
        ..Default::default()
    };
    let strange = client
        .submit_tensors(header, [("strange", whole.view())])
        .await
        .unwrap_err();
    assert!(strange.to_string().contains("tensor \"count\" is missing"), "{strange}");
}
