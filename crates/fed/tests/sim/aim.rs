//! Aims of lies. A lie that never reaches its aim proves nothing, so each aim must be reached in the runs of one test.

/// An effect of a lie on an honest node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// The node refuses a record, with these words in the reason.
    Refusal(&'static str),
    /// The node asks for an update that its author keeps back.
    Withheld,
    /// The node checks a checkpoint's weights as if they were an update.
    WeightsAsUpdate,
    /// The node seals two contributions with one and the same update.
    Copied,
    /// The node holds a seal of contributions that no node knows.
    Unknown,
}

/// All aims that the runs of one test must reach.
pub const AIMS: [Aim; 21] = [
    Aim::Refusal("is not this model's"),
    Aim::Refusal("samples are outside"),
    Aim::Refusal("is not below the parent's round"),
    Aim::Refusal("names round"),
    Aim::Refusal("fresh contributions, the spec asks for"),
    Aim::Refusal("lists late contributions, the spec takes none"),
    Aim::Refusal("convicts one who is convicted already"),
    Aim::Refusal("lists what its branch lists already"),
    Aim::Refusal("its parent is invalid"),
    Aim::Refusal("from below the horizon"),
    Aim::Refusal("its contributions make"),
    Aim::Refusal("is by a convicted member"),
    Aim::Refusal("whose update is no update"),
    Aim::Refusal("is not on its parent"),
    Aim::Refusal("rounds behind, 1 to"),
    Aim::Refusal("two fresh contributions by"),
    Aim::Refusal("two late contributions by"),
    Aim::Withheld,
    Aim::WeightsAsUpdate,
    Aim::Copied,
    Aim::Unknown,
];

/// Counts how often each of [`AIMS`] was reached.
#[derive(Debug, Clone, Default)]
pub struct Reached([u64; AIMS.len()]);

impl Reached {
    /// Counts the refusal of a record for this reason.
    pub fn refused(&mut self, reason: &str) {
        self.count(|aim| matches!(aim, Aim::Refusal(words) if reason.contains(words)));
    }

    /// Counts an aim that is no refusal.
    pub fn note(&mut self, reached: Aim) {
        self.count(|aim| *aim == reached);
    }

    fn count(&mut self, is: impl Fn(&Aim) -> bool) {
        for (count, aim) in self.0.iter_mut().zip(&AIMS) {
            *count += u64::from(is(aim));
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, n)| *sum += n);
    }

    /// Returns the aims that were never reached.
    pub fn missed(&self) -> Vec<&'static Aim> {
        let missed = self.0.iter().zip(&AIMS).filter(|(count, _)| **count == 0);
        missed.map(|(_, aim)| aim).collect()
    }
}
