//! A trainer in Rust: fetch the head, train on it, submit, for ever (or for some rounds).
//!
//! ```sh
//! cargo run -p qres-api --features client --example trainer -- 127.0.0.1:4002 MODEL [ROUNDS]
//! ```
//!
//! The model has two scalars, `slope` and `offset`; each trainer fits them to rows of its own, which never leave it. The loop
//! survives a restart of its node: it connects again and goes on.

use std::time::Duration;

use qres_api::client::{Client, ClientError};
use qres_api::pb::{FetchWeightsRequest, SubmitWeightsRequest};
use qres_fed::ndarray::arr0;
use qres_fed::tensor::{Tensor, TensorError, Tensors};

/// Rows of this trainer: x, and y = 2 x + 1.
const ROWS: [(f32, f32); 4] = [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 7.0)];

/// Gradient steps a round.
const STEPS: usize = 200;

/// Pause before the node is called again that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(model)) = (arguments.next(), arguments.next()) else {
        return Err("usage: trainer ADDRESS MODEL [ROUNDS]".into());
    };
    let rounds = arguments.next().map_or(Ok(u64::MAX), |text| text.parse())?;
    let mut after = String::new();
    loop {
        match round(&address, &model, &mut after).await {
            Ok(done) if done >= rounds => return Ok(()),
            Ok(_) => {}
            // The node is away, or says when it will have time.
            Err(error) if error.is_passing() || error.retry_after().is_some() => {
                eprintln!("{error}; trying again");
                tokio::time::sleep(error.retry_after().unwrap_or(PAUSE)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// One turn of the loop. Returns the round of the head that it trained on.
async fn round(address: &str, model: &str, after: &mut String) -> Result<u64, ClientError> {
    let node = Client::connect(address).await?;
    let request = FetchWeightsRequest {
        model: model.to_owned(),
        after: after.clone(),
        ..Default::default()
    };
    let (head, mut tensors) = node.fetch_tensors(request).await?;
    let id = head.checkpoint.id.clone();
    let loss = train(&mut tensors).map_err(|error| ClientError::Data(error.to_string()))?;
    let header = SubmitWeightsRequest {
        model: model.to_owned(),
        base: id.clone(),
        samples: ROWS.len() as u64,
        metrics: [("loss".to_owned(), f64::from(loss))].into(),
        ..Default::default()
    };
    match node.submit_tensors(header, &tensors).await {
        Ok(submission) => println!(
            "round {}: loss {loss:.6}, submission {}",
            head.checkpoint.round, submission.id
        ),
        // The model went on meanwhile, or this node has worked on that base: fetch again.
        Err(error) if error.reason().starts_with("BASE_") => {}
        Err(error) => return Err(error),
    }
    *after = id;
    Ok(head.checkpoint.round)
}

/// Gradient descent on the mean squared error. Replaces the two tensors, and returns the loss.
fn train(tensors: &mut Tensors) -> Result<f32, TensorError> {
    let (mut slope, mut offset) = (scalar(tensors, "slope")?, scalar(tensors, "offset")?);
    let mut loss = 0.0;
    for _ in 0..STEPS {
        let errors = ROWS.map(|(x, y)| (x, slope * x + offset - y));
        let mean = |of: fn(&(f32, f32)) -> f32| errors.iter().map(of).sum::<f32>() / errors.len() as f32;
        loss = mean(|(_, e)| e * e);
        slope -= 0.1 * mean(|(x, e)| x * e);
        offset -= 0.1 * mean(|(_, e)| *e);
    }
    tensors.insert("slope".to_owned(), Tensor::of(arr0(slope)));
    tensors.insert("offset".to_owned(), Tensor::of(arr0(offset)));
    Ok(loss)
}

/// Returns the number in a tensor of the model; 0 if the model has no such tensor.
fn scalar(tensors: &Tensors, name: &str) -> Result<f32, TensorError> {
    tensors.get(name).map_or(Ok(0.0), |tensor| Ok(tensor.array()?.sum()))
}
