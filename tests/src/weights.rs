//! Small safetensors files for tests.

use qres_fed::tensor::{f32_from_safetensors, to_safetensors};

/// Returns a file with one f32 vector named `w`.
pub fn vector(values: &[f32]) -> Vec<u8> {
    to_safetensors(&[("w".into(), vec![values.len() as u64], values.to_vec())])
}

/// Reads the values of a file that [`vector`] wrote.
pub fn read_vector(file: &[u8]) -> Vec<f32> {
    f32_from_safetensors(file).expect("a safetensors file").remove(0).2
}

/// Returns a safetensors file with these tensors (name, dtype, shape, bytes), written by hand as the specification of the
/// format says.
pub fn raw(tensors: &[(&str, &str, &[u64], Vec<u8>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (name, dtype, shape, bytes) in tensors {
        let end = at + bytes.len();
        header.insert(
            (*name).into(),
            serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] }),
        );
        at = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    for (.., bytes) in tensors {
        file.extend(bytes);
    }
    file
}
