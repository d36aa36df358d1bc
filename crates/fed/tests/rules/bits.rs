//! The bits of the rules that combine coordinates: the same on every machine, and with every way to sort.
//!
//! The digests were made by the first version of these rules, which sorted sixteen coordinates at a time by a list of
//! comparisons. Rounds of 1 to 34 members reach every network that is written out, and the list beyond.

use qres_fed::id::BlobId;
use qres_fed::record::{Dtype, Rule};

use crate::round::{Round, rule, with_f};

/// Coordinates of a vector: more than one run of them, and a rest.
const ELEMENTS: usize = 700;

/// Makes numbers of many sizes; some members have the same number in a coordinate, or zeros of both signs.
fn number(member: usize, at: usize) -> f64 {
    let mut hash = (member as u32 * 7919 + at as u32 * 104_729 + 1).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    let plain = f64::from(hash as i32) / 2_147_483_648.0;
    match at % 7 {
        0 => f64::from(hash % 5) - 2.0,
        1 => [0.0, -0.0, 1.0, -1.0][hash as usize % 4],
        2 => plain * 2f64.powi((hash % 64) as i32 - 32),
        _ => plain,
    }
}

/// Returns the digest of the results and weights of a rule for 1 to 34 members.
fn digest(rules: impl Fn(usize) -> Option<Vec<Rule>>, dtype: Dtype, equal: bool) -> String {
    let mut bytes = vec![];
    for n in 1..=34 {
        let Some(rules) = rules(n) else { continue };
        let vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..ELEMENTS).map(|j| number(i, j)).collect()).collect();
        let mut round = Round::of(&rules, &vectors);
        round.dtype = dtype;
        for (i, part) in round.parts.iter_mut().enumerate().filter(|_| !equal) {
            part.2 = 1 + (i as u64 * 5) % 11;
        }
        let (result, verdicts) = round.run().unwrap();
        bytes.extend(result.iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend(verdicts.iter().flat_map(|verdict| verdict.weight.to_le_bytes()));
    }
    BlobId::of(&bytes).to_string()[..16].to_owned()
}

/// A rule for rounds of n members, or none if there are too few of them.
type RuleOf = fn(usize) -> Option<Vec<Rule>>;

const RULES: [(&str, RuleOf, [&str; 4]); 6] = [
    (
        "median",
        |_| Some(vec![Rule::new("median/1")]),
        [
            "d0b69620dd1e2f06",
            "f8a963b5e6d3982d",
            "eb2d3ff68861a436",
            "340f4f4e1cbc831d",
        ],
    ),
    (
        "trimmed mean",
        |n| Some(vec![with_f("trimmed-mean/1", (n - 1) / 4)]),
        [
            "ad262d2f306c8063",
            "f5b17ece8d08e7b7",
            "691d33a28f857976",
            "1e9d154c16c6f181",
        ],
    ),
    (
        "mean around median",
        |n| Some(vec![with_f("mean-around-median/1", (n - 1) / 3)]),
        [
            "4528a803e5401781",
            "bdd90a45fa2f1fe9",
            "03d9b5132336b4db",
            "19953fa8adb5df12",
        ],
    ),
    (
        "nnm, trimmed mean",
        |n| {
            Some(vec![
                with_f("nnm/1", (n - 1) / 4),
                with_f("trimmed-mean/1", (n - 1) / 4),
            ])
        },
        [
            "816a0b0541c4a512",
            "70719edef2a0a863",
            "59e2f4087bc5a9bf",
            "b5cde2bb7f0c4c31",
        ],
    ),
    (
        "bucketing, median",
        |n| (n >= 2).then(|| vec![rule("bucketing/1", &[("size", 2.0)]), Rule::new("median/1")]),
        [
            "bb6464dad04a20cd",
            "7f2c9b12e51d23d3",
            "03d21f30d80f8a3e",
            "f941ecbd418f12c7",
        ],
    ),
    (
        "bulyan",
        |n| (n >= 7).then(|| vec![with_f("bulyan/1", (n - 3) / 4)]),
        [
            "221b7f5799ff13c5",
            "d8f1ebadc056fdc7",
            "01f57f119aac12f3",
            "67fbe5de101b9e09",
        ],
    ),
];

/// Rules that work on the updates' inner products. Their digests are those of the first version that had a test for them, on three
/// kinds of processors (`make test-aarch64`).
const SPAN_RULES: [(&str, RuleOf, [&str; 4]); 10] = [
    (
        "mean",
        |_| Some(vec![Rule::new("mean/1")]),
        [
            "a890bfd42395d3e8",
            "89ddc8bfb19c7480",
            "cf0a2575003f4021",
            "33c024385078c586",
        ],
    ),
    (
        "clip, mean",
        |_| Some(vec![Rule::new("clip/1"), Rule::new("mean/1")]),
        [
            "21f4adccf26a2db0",
            "9ae8ea68ac9d36d3",
            "3b2f8f4e64654bc0",
            "e1644772697bc1a2",
        ],
    ),
    (
        "arc, mean",
        |n| Some(vec![with_f("arc/1", (n - 1) / 3), Rule::new("mean/1")]),
        [
            "90dac7154a80fc29",
            "e10865bd219c176b",
            "2323aa545c2254cc",
            "47ce4882df745ea6",
        ],
    ),
    (
        "krum",
        |n| (n >= 3).then(|| vec![with_f("krum/1", (n - 3) / 2)]),
        [
            "9e900a1c581957c0",
            "9e900a1c581957c0",
            "35b1661223fcf587",
            "35b1661223fcf587",
        ],
    ),
    (
        "multi-krum",
        |n| (n >= 3).then(|| vec![with_f("multi-krum/1", (n - 3) / 2)]),
        [
            "4b6fce7786a66451",
            "efd4cd3f711ca629",
            "bf117d1930a7f723",
            "72a7aa16eee6b8b1",
        ],
    ),
    (
        "mda",
        |n| (n <= 12).then(|| vec![with_f("mda/1", (n - 1) / 3)]),
        [
            "e18ab6a041f67b74",
            "01151decbc155424",
            "cb828076232b90b8",
            "6e2a01e43f198deb",
        ],
    ),
    (
        "geometric median",
        |_| Some(vec![Rule::new("geometric-median/1")]),
        [
            "399ce4e143054ccc",
            "f4c94c7ca488d714",
            "477bd0675d79e8aa",
            "2cd0f965e2b0954b",
        ],
    ),
    (
        "centred clipping",
        |_| Some(vec![Rule::new("centred-clipping/1")]),
        [
            "86b190716e7de1cb",
            "538aec3fbf805270",
            "f78271e48c482888",
            "2998ed3df09640c7",
        ],
    ),
    (
        "fltrust",
        |_| Some(vec![Rule::new("fltrust/1")]),
        [
            "8ad5442ba6cc8cda",
            "05e6b586e00b47a2",
            "50636fa56dfc90eb",
            "5e0acaa7c7fcc541",
        ],
    ),
    (
        "nnm, geometric median",
        |n| Some(vec![with_f("nnm/1", (n - 1) / 4), Rule::new("geometric-median/1")]),
        [
            "696b69fa6e17a651",
            "e6cd2e55c6c39097",
            "cb164757714baff1",
            "ed46cc906f0f74d3",
        ],
    ),
];

#[test]
fn rules_that_combine_coordinates_have_these_bits() {
    assert_bits(&RULES);
}

#[test]
fn rules_that_combine_whole_updates_have_these_bits() {
    assert_bits(&SPAN_RULES);
}

fn assert_bits(rules: &[(&str, RuleOf, [&str; 4])]) {
    let mut wrong = vec![];
    for (name, rules, expected) in rules {
        let cases = [
            (Dtype::F32, true),
            (Dtype::F32, false),
            (Dtype::F64, true),
            (Dtype::F64, false),
        ];
        let got = cases.map(|(dtype, equal)| digest(rules, dtype, equal));
        if got.iter().zip(expected).any(|(got, expected)| got != expected) {
            wrong.push(format!("{name}: {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
