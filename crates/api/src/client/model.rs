//! Reads a model with all its tensors; one message may hold only a part of them.

use super::{Client, ClientError};
use crate::pb;

impl Client {
    /// Reads the model `name` or `name@id` with all its tensors.
    pub async fn model(&self, model: &str) -> Result<pb::Model, ClientError> {
        let request = pb::GetModelRequest {
            model: model.to_owned(),
        };
        let answer = self.models().get_model(request).await?.into_inner();
        let model = answer
            .model
            .ok_or(ClientError::Contract("a model was asked for and none came"))?;
        self.with_all_tensors(model).await
    }

    /// Asks for the tensors that did not fit into the message of the model, and adds them. Returns [`ClientError::Contract`] if
    /// the node sends fewer than the model's number of tensors.
    pub async fn with_all_tensors(&self, mut model: pb::Model) -> Result<pb::Model, ClientError> {
        while model.tensors.len() < model.tensor_count as usize {
            let request = pb::ListTensorsRequest {
                model: format!("{}@{}", model.name, model.id),
                page_size: 0,
                page_token: model.tensors.len().to_string(),
            };
            let page = self.models().list_tensors(request).await?.into_inner();
            if page.tensors.is_empty() {
                return Err(ClientError::Contract("a model's tensors end before their number"));
            }
            model.tensors.extend(page.tensors);
        }
        Ok(model)
    }
}
