//! The kinds of a new model's tensors, from the names and patterns in the request.

use qres_fed::record::{Schema, TensorKind, TensorSpec};
use wildmatch::WildMatch;

use crate::error::NodeError;
use crate::request::CreateModel;

/// Returns the schema of these tensors (ascending by name), in which those that the request names are personal or frozen.
pub fn kinds(tensors: &[TensorSpec], create: &CreateModel) -> Result<Schema, NodeError> {
    let personal = matches("personal", &create.personal, tensors)?;
    let frozen = matches("frozen", &create.frozen, tensors)?;
    let kinds = tensors.iter().zip(personal.into_iter().zip(frozen));
    let kinds = kinds.map(|(tensor, kind)| match kind {
        (true, true) => Err(NodeError::invalid(
            "frozen",
            format!(
                "tensor {:?} is personal, too: a tensor is one or the other",
                tensor.name
            ),
        )),
        (true, false) => Ok((tensor.clone(), TensorKind::Personal)),
        (false, true) => Ok((tensor.clone(), TensorKind::Frozen)),
        (false, false) => Ok((tensor.clone(), TensorKind::Shared)),
    });
    Ok(Schema::of_kinds(kinds.collect::<Result<Vec<_>, _>>()?))
}

/// Returns for each tensor whether one of the patterns matches its name. A pattern that matches none is an error: it is a mistake.
fn matches(field: &str, patterns: &[String], tensors: &[TensorSpec]) -> Result<Vec<bool>, NodeError> {
    let mut matched = vec![false; tensors.len()];
    for pattern in patterns {
        let wild = WildMatch::new(pattern);
        let mut found = false;
        for (tensor, matched) in tensors.iter().zip(&mut matched) {
            if wild.matches(&tensor.name) {
                (found, *matched) = (true, true);
            }
        }
        if !found {
            let first: Vec<_> = tensors.iter().take(3).map(|tensor| tensor.name.as_str()).collect();
            return Err(NodeError::invalid(
                field,
                format!(
                    "{pattern:?} is the name of no tensor ({}, …): a name, or a pattern with * for any characters and ? for one",
                    first.join(", ")
                ),
            ));
        }
    }
    Ok(matched)
}

#[cfg(test)]
mod tests {
    use qres_fed::record::Dtype;

    use super::super::tests::request;
    use super::*;

    fn schema(personal: &[&str], frozen: &[&str]) -> Result<Schema, NodeError> {
        let tensor = |name: &str| TensorSpec {
            name: name.into(),
            dtype: Dtype::F32,
            shape: vec![1],
        };
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let create = CreateModel {
            personal: texts(personal),
            frozen: texts(frozen),
            ..request()
        };
        kinds(
            &["bn.1.bias", "bn.2.bias", "emb.weight", "head.weight"].map(tensor),
            &create,
        )
    }

    #[test]
    fn names_and_patterns_choose_the_kinds() {
        let kinds = |schema: Schema| schema.all().map(|(_, kind)| kind as u8).collect::<Vec<_>>();
        assert_eq!(kinds(schema(&[], &[]).unwrap()), [0, 0, 0, 0]);
        assert_eq!(kinds(schema(&["bn.*"], &["emb.weight"]).unwrap()), [2, 2, 1, 0]);
        assert_eq!(kinds(schema(&["bn.?.bias", "bn.1*"], &[]).unwrap()), [2, 2, 0, 0]);
    }

    #[test]
    fn a_pattern_for_no_tensor_and_a_tensor_of_two_kinds_are_refused() {
        let refused = |personal, frozen| {
            let error = schema(personal, frozen).unwrap_err();
            (error.field.unwrap(), error.message)
        };
        let (field, message) = refused(&["norm.*"], &[]);
        assert!(field == "personal" && message.contains("\"norm.*\""), "{message}");
        let (field, message) = refused(&["bn.*"], &["*bias"]);
        assert!(field == "frozen" && message.contains("\"bn.1.bias\""), "{message}");
    }
}
