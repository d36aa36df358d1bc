//! Aggregation of models far larger than the memory that it may use. A test of its own: the peak is the process's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io;

use qres_fed::id::{BlobId, CheckpointId, NodeId};
use qres_fed::record::{Dtype, End, Figures, Membership, RoundPolicy, Rule, Spec, TensorSpec};
use qres_fed::tensor::{Layout, Source};
use qres_fed::update::{Outputs, Parent, Weighted, aggregate};

const MEMBERS: u8 = 20;
/// Elements of the model: 256 MiB in f32.
const ELEMENTS: u64 = 64 << 20;
/// The most memory that the process may use, in KiB: 200 MiB, for 5 GiB of updates.
const PEAK_KIB_MAX: u64 = 200 << 10;

/// An update that is computed when it is read, different for each member.
struct Made {
    header: Vec<u8>,
    member: u32,
}

impl Source for Made {
    fn len(&self) -> u64 {
        self.header.len() as u64 + ELEMENTS * 4
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let header = self.header.len() as u64;
        if offset < header {
            let from = &self.header[offset as usize..];
            let (head, rest) = into.split_at_mut(from.len().min(into.len()));
            head.copy_from_slice(&from[..head.len()]);
            return if rest.is_empty() {
                Ok(())
            } else {
                self.read_at(header, rest)
            };
        }
        let first = ((offset - header) / 4) as u32;
        for (i, bytes) in (first..).zip(into.as_chunks_mut::<4>().0) {
            let hash = (i ^ self.member.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            *bytes = ((hash >> 9) as f32 / 8_388_608.0).to_le_bytes();
        }
        Ok(())
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn five_gibibytes_of_updates_are_aggregated_in_200_mebibytes() {
    let author = |i: u8| NodeId([i; 32]);
    let with_f = |id: &str| Rule {
        id: id.into(),
        params: [("f".to_owned(), 4.0)].into(),
    };
    let mut spec = Spec {
        name: "large".parse().unwrap(),
        tensors: vec![TensorSpec {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![ELEMENTS],
        }]
        .into(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        rounds: RoundPolicy {
            min_contributions: u32::from(MEMBERS),
            ..RoundPolicy::default()
        },
        codec: Rule::new("none/1"),
        privacy: Rule::new("none/1"),
        membership: Membership::List((0..MEMBERS).map(author).collect()),
        checkpoint0: BlobId([0; 32]),
        fixed: None,
        creator: author(0),
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    };
    let header = Layout::of(&spec.tensors).header().to_vec();
    let base = Made { header, member: 99 };
    let updates: Vec<Made> = (0..u32::from(MEMBERS))
        .map(|member| Made { header: vec![], member })
        .collect();
    let weighted = |(i, update)| Weighted {
        update,
        author: author(i),
        samples: 1 + u64::from(i),
        staleness: 0,
        figures: Figures::default(),
    };
    let fresh: Vec<Weighted<'_>> = (0..)
        .zip(updates.iter().map(|update| update as &dyn Source))
        .map(weighted)
        .collect();
    let parent = Parent {
        id: CheckpointId([0; 32]),
        weights: &base,
        optimiser: None,
    };
    for rules in [
        vec![],
        vec![with_f("trimmed-mean/1")],
        vec![with_f("nnm/1"), with_f("krum/1")],
    ] {
        spec.aggregation = rules;
        aggregate(&spec, parent, &fresh, &[], Outputs::of_weights(&mut io::sink())).unwrap();
        let peak = peak_kib();
        assert!(peak < PEAK_KIB_MAX, "{:?}: {peak} KiB", spec.aggregation);
    }
}
