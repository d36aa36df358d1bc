//! Tests with hostile and honest headers.

use ndarray::{ArrayD, ArrayView1, array, aview0};

use super::*;
use crate::tensor::{Layout, Tensor, to_safetensors};

/// Makes a file of a JSON header and data as the format's page describes it, without any code of this crate.
fn file(json: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn refused(bytes: &[u8], names: &[&str]) {
    let error = read_schema(&bytes).expect_err("a bad file was taken").to_string();
    for name in names {
        assert!(error.contains(name), "{name:?} is not in: {error}");
    }
}

fn spec(name: &str, dtype: Dtype, shape: &[u64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.into(),
    }
}

#[test]
fn a_file_written_by_hand_as_the_format_shows_is_read() {
    // The bytes are the example in the safetensors crate's own documentation.
    let bytes =
        b"<\x00\x00\x00\x00\x00\x00\x00{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}\x00\x00\
                  \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    assert_eq!(
        read_schema(&bytes.to_vec()).unwrap(),
        [spec("test", Dtype::I32, &[2, 2])]
    );
}

#[test]
fn order_in_the_file_metadata_padding_scalars_and_empty_tensors_are_all_allowed() {
    let json = r#"{"__metadata__":{"format":"pt","a":"b"},
        "b":{"dtype":"F32","shape":[2],"data_offsets":[3,11]},
        "a":{"shape":[],"data_offsets":[0,2],"dtype":"BF16"},
        "z":{"dtype":"I64","shape":[0,18446744073709551615,9],"data_offsets":[3,3]},
        "c":{"dtype":"BOOL","shape":[1],"data_offsets":[2,3]}}   "#;
    let bytes = file(json, &[0; 11]);
    let schema = read_schema(&bytes).unwrap();
    let expected = [
        spec("a", Dtype::Bf16, &[]),
        spec("b", Dtype::F32, &[2]),
        spec("c", Dtype::Bool, &[1]),
        spec("z", Dtype::I64, &[0, u64::MAX, 9]),
    ];
    assert_eq!(schema, expected);
    let at = 8 + json.len() as u64;
    assert_eq!(
        check_weights(&schema, &bytes).unwrap().offsets,
        [at, at + 3, at + 2, at + 3]
    );
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_allocated() {
    refused(&[], &["0 bytes", "cut off"]);
    refused(&[0; 7], &["7 bytes"]);
    refused(&u64::MAX.to_le_bytes(), &["18446744073709551615", "at most 0"]);
    refused(&file("{}", &[])[..9], &["2 bytes announced", "at most 1"]);
    // The source acts as a (sparse) file of 16 TiB whose header claims to be 16 TiB long.
    struct Huge;
    impl Source for Huge {
        fn len(&self) -> u64 {
            1 << 44
        }
        fn read_at(&self, _: u64, into: &mut [u8]) -> std::io::Result<()> {
            assert_eq!(into.len(), 8, "more than the length was read");
            into.copy_from_slice(&((1u64 << 44) - 8).to_le_bytes());
            Ok(())
        }
    }
    let error = read_schema(&Huge).unwrap_err().to_string();
    assert!(error.contains("at most 100000000"), "{error}");
}

#[test]
fn what_is_no_json_object_of_tensors_is_refused() {
    let mut latin = file(r#"{"_":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#, &[]);
    latin[10] = 0xff;
    refused(&latin, &["UTF-8"]);
    for json in ["", "[]", "null", "\"a\"", " {}", "{", "{\"a\":1}", "{} x", "{\"a\":{}}"] {
        refused(&file(json, &[]), &["safetensors header"]);
    }
    // The metadata are skipped without recursion, so deeply nested ones cost no stack.
    let deep = format!("{{\"__metadata__\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read_schema(&file(&deep, &[])).unwrap(), []);
    let missing = r#"{"fc1.weight":{"dtype":"F32","shape":[1]}}"#;
    refused(&file(missing, &[0; 4]), &["fc1.weight", "data_offsets"]);
    let negative = r#"{"n":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#;
    refused(&file(negative, &[0; 4]), &["\"n\"", "-1"]);
    let fraction = r#"{"n":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#;
    refused(&file(fraction, &[0; 4]), &["\"n\""]);
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    let twice = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
        "a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    refused(&file(twice, &[0; 2]), &["\"a\" comes twice"]);
    // The two names are written differently, but are the same name.
    refused(
        &file(&twice.replacen("\"a\"", "\"\\u0061\"", 1), &[0; 2]),
        &["\"a\" comes twice"],
    );
    refused(&file(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]), &["comes twice"]);
    let field = r#"{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}"#;
    refused(&file(field, &[]), &["\"a\"", "duplicate field"]);
    refused(
        &file(r#"{"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#, &[]),
        &["0 bytes"],
    );
}

#[test]
fn a_name_that_could_command_a_terminal_is_refused_and_shown_escaped() {
    for (name, shown) in [
        ("w\\u001b[31m", "\"w\\u{1b}[31m\": U+001B"),
        ("\u{9b}2J", "U+009B"),
        ("w\u{202e}x", "\"w\\u{202e}x\": U+202E"),
        ("w\u{200b}", "U+200B"),
    ] {
        let json = format!(r#"{{"{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}}"#);
        refused(&file(&json, &[]), &[shown, "rename"]);
    }
    let json = r#"{"größe 重み":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
    assert_eq!(read_schema(&file(json, &[])).unwrap()[0].name, "größe 重み");
}

#[test]
fn a_dtype_that_is_not_carried_is_named() {
    for dtype in ["F8_E4M3", "F8_E5M2", "F4", "C64", "f32", "BOOLEAN", ""] {
        let json = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,2]}}}}"#);
        refused(
            &file(&json, &[0; 2]),
            &["tensor \"w\"", &format!("dtype \"{dtype}\""), "BF16"],
        );
    }
}

#[test]
fn holes_overlaps_and_offsets_off_the_data_are_refused() {
    let two = |a: [u64; 2], b: [u64; 2], data: usize| {
        let json = format!(
            r#"{{"a":{{"dtype":"U8","shape":[{}],"data_offsets":{a:?}}},"b":{{"dtype":"U8","shape":[{}],"data_offsets":{b:?}}}}}"#,
            a[1].wrapping_sub(a[0]),
            b[1].wrapping_sub(b[0])
        );
        file(&json, &vec![0; data])
    };
    assert!(read_schema(&two([0, 2], [2, 5], 5)).is_ok());
    refused(&two([0, 2], [3, 5], 5), &["\"b\"", "begin at 2"]);
    refused(&two([0, 3], [2, 5], 5), &["\"b\"", "begin at 3"]);
    refused(&two([1, 3], [3, 5], 5), &["\"a\"", "begin at 0"]);
    refused(&two([0, 2], [2, 1], 2), &["\"b\"", "[2, 1]"]);
    refused(&two([0, 2], [2, 6], 5), &["6 bytes of data, 5 follow"]);
    refused(&two([0, 2], [2, 4], 5), &["4 bytes of data, 5 follow"]);
    refused(&two([0, 2], [2, u64::MAX], 5), &["18446744073709551615 bytes of data"]);
}

#[test]
fn shapes_that_do_not_fit_their_bytes_are_refused() {
    let one = |shape: &str, bytes: u64| {
        file(
            &format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{bytes}]}}}}"#),
            &vec![0; bytes as usize],
        )
    };
    refused(&one("[2,3]", 20), &["\"w\"", "24 bytes expected", "[2, 3]", "give 20"]);
    refused(&one("[]", 0), &["4 bytes expected"]);
    refused(&one("[0]", 4), &["0 bytes expected"]);
    refused(&one("[4294967296,4294967296]", 0), &["overflows"]);
    refused(&one("[4611686018427387904]", 0), &["overflows"]);
    refused(&one(&format!("[{}1]", "1,".repeat(16)), 4), &["\"w\"", "16 dimensions"]);
    assert!(read_schema(&one(&format!("[{}1]", "1,".repeat(15)), 4)).is_ok());
}

#[test]
fn more_tensors_than_a_spec_takes_are_refused() {
    let json = |n: usize| {
        let all: Vec<String> = (0..n)
            .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
            .collect();
        format!("{{{}}}", all.join(","))
    };
    assert_eq!(read_schema(&file(&json(TENSORS_MAX), &[])).unwrap().len(), TENSORS_MAX);
    refused(&file(&json(TENSORS_MAX + 1), &[]), &["more than 65536 tensors"]);
}

#[test]
fn what_differs_from_the_schema_is_named_with_both_sides() {
    let schema = [spec("a", Dtype::F32, &[2, 3]), spec("b", Dtype::F32, &[])];
    let tensors = |names: &[(&str, &[u64])]| {
        let all: Vec<_> = names
            .iter()
            .map(|(name, shape)| {
                let shape: Vec<_> = shape.iter().map(|size| *size as usize).collect();
                (*name, Tensor::of(ArrayD::from_elem(shape, 1.0f32)))
            })
            .collect();
        to_safetensors(all.iter().map(|(name, tensor)| (*name, tensor)))
    };
    assert!(check_weights(&schema, &tensors(&[("a", &[2, 3]), ("b", &[])])).is_ok());
    for (given, names) in [
        (
            tensors(&[("a", &[3, 2]), ("b", &[])]),
            ["tensor \"a\"", "shape [2, 3] expected, [3, 2] found"],
        ),
        (
            tensors(&[("a", &[2, 3])]),
            ["tensor \"b\" is missing", "2 tensors, the file 1"],
        ),
        (
            tensors(&[("b", &[])]),
            ["tensor \"a\" is missing", "2 tensors, the file 1"],
        ),
        (
            tensors(&[("a", &[2, 3]), ("aa", &[]), ("b", &[])]),
            ["tensor \"aa\"", "not one of the model's 2"],
        ),
        (
            tensors(&[("a", &[2, 3]), ("b", &[]), ("c", &[])]),
            ["tensor \"c\"", "not one of"],
        ),
    ] {
        let error = check_weights(&schema, &given).unwrap_err().to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
    let halves = file(
        r#"{"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[],"data_offsets":[12,16]}}"#,
        &[0; 16],
    );
    let error = check_weights(&schema, &halves).unwrap_err().to_string();
    assert!(error.contains("dtype F32 expected, F16 found"), "{error}");
}

#[test]
fn the_first_element_that_is_not_finite_is_named() {
    let mut values = vec![0.5f32; 100_000];
    values[70_001] = f32::NAN;
    values[70_002] = f32::INFINITY;
    let bytes = to_safetensors([("b", ArrayView1::from(&values))]);
    let schema = read_schema(&bytes).unwrap();
    let error = check_weights(&schema, &bytes).unwrap_err().to_string();
    assert!(error.contains("tensor \"b\": element 70001 is NaN"), "{error}");

    for (dtype, bad) in [
        ("F64", &f64::NEG_INFINITY.to_le_bytes()[..]),
        ("F16", &[0x00, 0x7c]),
        ("BF16", &[0x81, 0xff]),
        ("BOOL", &[2]),
    ] {
        let n = bad.len();
        let json = format!(
            r#"{{"t":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{}]}}}}"#,
            2 * n
        );
        let bytes = file(&json, &[&vec![0; n], bad].concat());
        let error = check_weights(&read_schema(&bytes).unwrap(), &bytes)
            .unwrap_err()
            .to_string();
        assert!(error.contains("tensor \"t\": element 1 is"), "{error}");
    }
}

#[test]
fn what_is_written_from_memory_is_the_canonical_file() {
    let bytes = to_safetensors([
        ("scalar", aview0(&-0.0f32).into_dyn()),
        ("a", array![[1.0f32, -2.0], [3.5, f32::MIN_POSITIVE]].view().into_dyn()),
        ("empty", ArrayD::zeros(vec![0, 7]).view()),
    ]);
    let schema = read_schema(&bytes).unwrap();
    let mut canonical = Vec::new();
    let layout = Layout::of(&schema);
    layout
        .write_canonical(&bytes, &check_weights(&schema, &bytes).unwrap(), &mut canonical)
        .unwrap();
    assert_eq!(canonical, bytes);
    assert_eq!(layout.file_bytes(), bytes.len() as u64);
}
