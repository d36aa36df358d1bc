//! Small safetensors files for tests.

use qres_fed::ndarray::ArrayView1;
use qres_fed::tensor::{read_safetensors, to_safetensors};

/// Returns a file with one f32 vector named `w`.
pub fn vector(values: &[f32]) -> Vec<u8> {
    to_safetensors([("w", ArrayView1::from(values))])
}

/// Reads the values of a file that [`vector`] wrote.
pub fn read_vector(file: &[u8]) -> Vec<f32> {
    let tensors = read_safetensors(file).expect("a safetensors file");
    let vector = tensors["w"].array().expect("a vector of f32");
    vector.iter().copied().collect()
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
