//! Tensors: files, coded updates, coded states. Tensors that were checked must fit the schema and be finite.

use qres_fed::codec::Codec;
use qres_fed::id::{CheckpointId, NodeId};
use qres_fed::record::{Figures, Rule, Spec, is_printable};
use qres_fed::state;
use qres_fed::strategy;
use qres_fed::tensor::{self, Layout, to_safetensors};
use qres_fed::update::{self, Outputs, Parent, Part, Weighted};

use crate::{Target, record};

/// Largest length of a decoded state, in bytes (1 MiB).
const STATE_BYTES_MAX: u64 = 1 << 20;

/// Reads and checks a safetensors file.
pub const SAFETENSORS: Target = Target {
    name: "safetensors",
    run: |_, data| file(data),
    seeds: |_| {
        let plain = to_safetensors([
            (
                "größe",
                qres_fed::ndarray::aview2(&[[1.0f32, -2.0], [3.5, 0.0]]).into_dyn(),
            ),
            ("scalar", qres_fed::ndarray::aview0(&-0.0f32).into_dyn()),
        ]);
        let json = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[1],"data_offsets":[1,3]},"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}"#;
        let foreign = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &[1, 0, 0x3c]].concat();
        vec![plain, foreign, weights()]
    },
};

/// Reads an update that is coded with `none/1`.
pub const UPDATE_NONE: Target = Target {
    name: "update-none",
    run: |_, data| update("none/1", data),
    seeds: |_| updates("none/1"),
};

/// Reads an update that is coded with `bf16/1`.
pub const UPDATE_BF16: Target = Target {
    name: "update-bf16",
    run: |_, data| update("bf16/1", data),
    seeds: |_| updates("bf16/1"),
};

/// Reads an update that is coded with `f16/1`.
pub const UPDATE_F16: Target = Target {
    name: "update-f16",
    run: |_, data| update("f16/1", data),
    seeds: |_| updates("f16/1"),
};

/// Reads an update that is coded with `int8/1`.
pub const UPDATE_INT8: Target = Target {
    name: "update-int8",
    run: |_, data| update("int8/1", data),
    seeds: |_| updates("int8/1"),
};

/// Reads an update that is coded with `tcq/1`.
pub const UPDATE_TCQ: Target = Target {
    name: "update-tcq",
    run: |_, data| update("tcq/1", data),
    seeds: |_| {
        // Ordinary numbers in the first tensor: those of the other seeds are too few to be coded.
        let mut ordinary = weights();
        let header = Layout::of(&record::tensors()).header().len();
        for (i, bytes) in (0i16..).zip(ordinary[header..].as_chunks_mut::<4>().0.iter_mut().take(300)) {
            *bytes = (f32::from(i * 79 % 201 - 100) / 64.0).to_le_bytes();
        }
        let nothing = zeros(&record::spec(record::tensors(), "tcq/1"));
        [weights(), nothing, ordinary].map(|file| coded("tcq/1", file)).into()
    },
};

/// Decodes a coded state of at most [`STATE_BYTES_MAX`].
pub const STATE: Target = Target {
    name: "state-tensors",
    run: |_, data| match state::decode(data, STATE_BYTES_MAX) {
        Ok(decoded) => {
            assert!(
                decoded.len() as u64 <= STATE_BYTES_MAX && file(&decoded),
                "an unusable file"
            );
            true
        }
        Err(error) => {
            assert!(error.to_string().chars().all(is_printable), "{error:?}");
            false
        }
    },
    seeds: |_| {
        let code = |codec| state::encode(&weights(), &Rule::new(codec)).expect("coded").0;
        ["none/1", "bf16/1", "int8/1"].map(code).into()
    },
};

/// Returns weights on the schema of [`record::tensors`], the same every time: a small count in every byte (0 or 1), which
/// is finite in all dtypes and also valid for a bool.
fn weights() -> Vec<u8> {
    let layout = Layout::of(&record::tensors());
    let mut file = layout.header().to_vec();
    let bytes = usize::try_from(layout.file_bytes()).expect("a small file");
    file.extend((file.len()..bytes).map(|at| u8::try_from(at % 2).unwrap_or(0)));
    file
}

fn zeros(spec: &Spec) -> Vec<u8> {
    let layout = Layout::of(&spec.tensors);
    let mut file = layout.header().to_vec();
    file.resize(usize::try_from(layout.file_bytes()).expect("a small file"), 0);
    file
}

/// Returns true if `data` is a usable file; checks that its canonical form is one too.
fn file(data: &[u8]) -> bool {
    let schema = match tensor::read_schema(&data) {
        Ok(schema) => schema,
        Err(error) => {
            assert!(error.to_string().chars().all(is_printable), "{error:?}");
            return false;
        }
    };
    assert!(schema.is_sorted_by(|a, b| a.name < b.name));
    assert!(schema.iter().all(|tensor| tensor.name.chars().all(is_printable)));
    let Ok(placement) = tensor::check_weights(&schema, &data) else {
        return false;
    };
    let (layout, mut canonical) = (Layout::of(&schema), Vec::new());
    let written = layout.write_canonical(&data, &placement, &mut canonical);
    written.expect("what was checked is written");
    assert_eq!(canonical.len() as u64, layout.file_bytes());
    assert!(tensor::read_schema(&canonical.as_slice()).expect("a file") == schema);
    tensor::check_weights(&schema, &canonical.as_slice()).expect("on its schema and finite");
    true
}

/// Returns true if `data` is an update. If there is only one length, cuts it or fills it up to that one too, so that its elements
/// are always looked at.
fn update(codec: &str, data: &[u8]) -> bool {
    let spec = record::spec(record::tensors(), codec);
    let lengths = Codec::of(&spec.codec).expect("a known codec").lengths(&spec.tensors);
    let mut coded = data.to_vec();
    let accepted = update::check(&spec, &coded).is_ok();
    if lengths.start() == lengths.end() {
        coded.resize(usize::try_from(*lengths.end()).expect("a small update"), 0);
    }
    if let Err(error) = update::check(&spec, &coded) {
        assert!(error.to_string().chars().all(is_printable), "{error:?}");
        return false;
    }
    // The update is given three times, once as a late one, so that weights other than 1 are multiplied with.
    let part = |author, samples, staleness| Weighted {
        update: &coded,
        author: NodeId([author; 32]),
        samples,
        staleness,
        figures: Figures::default(),
    };
    let (fresh, late) = ([part(1, 1 << 40, 0), part(2, 1, 0), part(3, 5, 0)], [part(1, 3, 2)]);
    two_rounds(&spec, &fresh, &late);
    let adaptive = Spec {
        strategy: Rule::new("fedyogi/1"),
        ..spec
    };
    two_rounds(&adaptive, &fresh, &late);
    accepted
}

/// Aggregates the updates, and then again onto the result. All that comes out is finite.
fn two_rounds(spec: &Spec, fresh: &[Weighted<'_>], late: &[Weighted<'_>]) {
    let (mut weights, mut state) = (zeros(spec), None::<Vec<u8>>);
    for _ in 0..2 {
        let (mut next, mut moments) = (vec![], vec![]);
        let parent = Parent {
            id: CheckpointId([0; 32]),
            weights: &weights,
            optimiser: state.as_ref().map(|file| file as _),
        };
        let out = Outputs {
            weights: &mut next,
            optimiser: Some(&mut moments),
        };
        update::aggregate(spec, parent, fresh, late, out).expect("what was checked aggregates");
        tensor::check_weights(&spec.tensors, &next).expect("an aggregate is finite");
        if let Some(schema) = strategy::state_schema(spec) {
            tensor::check_weights(&schema, &moments).expect("a state is finite");
            state = Some(moments);
        }
        weights = next;
    }
}

fn updates(codec: &str) -> Vec<Vec<u8>> {
    let coded = coded(codec, weights());
    let nothing = vec![0; coded.len()];
    vec![coded, nothing]
}

fn coded(codec: &str, weights: Vec<u8>) -> Vec<u8> {
    let spec = record::spec(record::tensors(), codec);
    let base = zeros(&spec);
    let part = Part {
        file: &weights,
        samples: 3,
        delta: false,
        steps: None,
    };
    let mut coded = Vec::new();
    update::merge_and_encode(&spec, &base, &[part], &mut coded).expect("coded");
    coded
}
