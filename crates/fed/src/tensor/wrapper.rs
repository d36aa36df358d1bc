//! Detection of tensor names that differ from a model's only by the parts that a wrapper of the training framework adds.

use crate::record::TensorSpec;

/// Parts that PyTorch's wrappers add to names: DataParallel and DistributedDataParallel, `torch.compile`, FSDP, and
/// activation checkpointing.
const WRAPPERS: [&str; 4] = [
    "module.",
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
];

/// Returns the text for the end of an error if all names of a file differ from those of the schema in one and the same way,
/// else `None`. Both lists ascend by name.
pub(super) fn difference(schema: &[TensorSpec], found: &[&str]) -> Option<String> {
    let wanted: Vec<&str> = schema.iter().map(|tensor| tensor.name.as_str()).collect();
    if wanted.len() != found.len() || wanted == found {
        return None;
    }
    if let Some(prefix) = prefix(&wanted, found) {
        return Some(format!(
            "the file has {prefix:?} before each name, the model has not: send the names without it"
        ));
    }
    if let Some(prefix) = prefix(found, &wanted) {
        return Some(format!(
            "the model has {prefix:?} before each name, the file has not: send the names with it"
        ));
    }
    (unwrapped(&wanted) == unwrapped(found)).then(|| {
        "the names differ only by what a wrapper puts into them, like \"module.\" or \"_orig_mod.\": send the weights of the \
         model inside the wrapper"
            .to_owned()
    })
}

/// Returns the text that stands before every name of `short` in `long`, or `None` if there is none.
fn prefix<'a>(short: &[&str], long: &[&'a str]) -> Option<&'a str> {
    let first = long.first()?.strip_suffix(short.first()?)?;
    let all = short
        .iter()
        .zip(long)
        .all(|(short, long)| long.strip_prefix(first) == Some(*short));
    (all && !first.is_empty()).then_some(first)
}

fn unwrapped(names: &[&str]) -> Vec<String> {
    let unwrap = |name: &&str| {
        WRAPPERS
            .iter()
            .fold((*name).to_owned(), |name, wrapper| name.replace(wrapper, ""))
    };
    let mut names: Vec<_> = names.iter().map(unwrap).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Dtype;

    fn schema(names: &[&str]) -> Vec<TensorSpec> {
        let tensor = |name: &&str| TensorSpec {
            name: (*name).to_owned(),
            dtype: Dtype::F32,
            shape: vec![],
        };
        names.iter().map(tensor).collect()
    }

    #[test]
    fn a_prefix_on_either_side_and_a_wrapper_inside_are_named() {
        let plain = ["a.b", "a.w", "c.w"];
        let cases = [
            (
                &plain[..],
                &["module.a.b", "module.a.w", "module.c.w"][..],
                "has \"module.\" before each name, the model has not",
            ),
            (
                &["net.a", "net.b"],
                &["a", "b"],
                "the model has \"net.\" before each name",
            ),
            (&plain, &["_orig_mod.a.b", "a.w", "c._orig_mod.w"], "wrapper"),
        ];
        for (wanted, found, expected) in cases {
            let said = difference(&schema(wanted), found).unwrap();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn other_names_are_just_other_names() {
        for found in [
            &["a.b", "a.w", "x"][..],
            &["module.a.b"],
            &["module.a.b", "module.a.w", "net.c.w"],
        ] {
            assert_eq!(difference(&schema(&["a.b", "a.w", "c.w"]), found), None, "{found:?}");
        }
        assert_eq!(difference(&[], &[]), None);
    }
}
