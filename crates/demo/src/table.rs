//! Formats the closing table.

use std::fmt::Write;
use std::time::Duration;

use qres_fed::id::BlobId;

/// The head of a node at the end of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The round of the checkpoint.
    pub round: u64,
    /// The id of the checkpoint.
    pub checkpoint: String,
    /// The digest of the weights as they came out of the node, computed here.
    pub weights: BlobId,
}

/// The results of the run.
pub struct Outcome {
    /// The [`Head`] of each node.
    pub heads: Vec<Head>,
    /// Name and held-out accuracy, 0 to 1, of each way to train.
    pub accuracies: Vec<(String, f64)>,
    /// Time from the first round's start to the last head.
    pub took: Duration,
    /// Number of rounds that were trained.
    pub rounds: u64,
    /// Bytes of weights between trainers and their nodes.
    pub trainer_bytes: u64,
    /// Bytes of updates between nodes.
    pub node_bytes: u64,
}

impl Outcome {
    /// Returns true if all nodes ended on the same checkpoint with the same bits.
    pub fn agree(&self) -> bool {
        self.heads.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// Formats the table as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "  node     round  checkpoint  BLAKE3 of the weights")?;
        for (number, head) in self.heads.iter().enumerate() {
            // Ids come from a node: a longer one is cut, and a shorter one is taken as it is.
            let short: String = head.checkpoint.chars().take(8).collect();
            writeln!(
                out,
                "  node {:<3} {:>5}  {short:<10}  {}",
                number + 1,
                head.round,
                head.weights
            )?;
        }
        let verdict = if self.agree() {
            "all nodes hold the same bits"
        } else {
            "THE NODES DIFFER"
        };
        writeln!(out, "  => {verdict}\n")?;
        let width = self.accuracies.iter().map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or(0).max(8);
        writeln!(out, "  {:<width$}  held-out accuracy", "trained")?;
        for (name, accuracy) in &self.accuracies {
            writeln!(out, "  {name:<width$}  {:>6.1} %  {}", accuracy * 100.0, bar(*accuracy))?;
        }
        let seconds = self.took.as_secs_f64();
        writeln!(
            out,
            "\n  {} rounds in {seconds:.1} s ({:.0} ms a round); {} between trainers and nodes, {} between nodes",
            self.rounds,
            seconds * 1000.0 / self.rounds.max(1) as f64,
            bytes(self.trainer_bytes),
            bytes(self.node_bytes),
        )
    }
}

/// Draws a bar of twenty cells for a share from 0 to 1.
pub fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * 20.0).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(20 - full))
}

/// Formats a number of bytes in decimal units for people.
pub fn bytes(count: u64) -> String {
    let count = count as f64;
    for (unit, size) in [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if count >= size {
            return format!("{:.1} {unit}", count / size);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let head = Head {
            round: 20,
            checkpoint: "ab".repeat(32),
            weights: BlobId::of(b"weights"),
        };
        Outcome {
            heads: vec![head.clone(), head],
            accuracies: vec![("federated".into(), 0.9), ("trainer 1 alone".into(), 0.3)],
            took: Duration::from_millis(4000),
            rounds: 20,
            trainer_bytes: 1_500_000,
            node_bytes: 999,
        }
    }

    #[test]
    fn the_table_says_it_all() {
        let digest = BlobId::of(b"weights");
        let expected = format!(
            "  node     round  checkpoint  BLAKE3 of the weights\n\
             \x20 node 1      20  abababab    {digest}\n\
             \x20 node 2      20  abababab    {digest}\n\
             \x20 => all nodes hold the same bits\n\
             \n\
             \x20 trained          held-out accuracy\n\
             \x20 federated          90.0 %  ██████████████████░░\n\
             \x20 trainer 1 alone    30.0 %  ██████░░░░░░░░░░░░░░\n\
             \n\
             \x20 20 rounds in 4.0 s (200 ms a round); 1.5 MB between trainers and nodes, 999 B between nodes\n"
        );
        assert_eq!(outcome().render(), expected);
    }

    #[test]
    fn another_bit_or_checkpoint_is_no_agreement() {
        assert!(outcome().agree());
        let mut bits = outcome();
        bits.heads[1].weights = BlobId::of(b"other");
        assert!(!bits.agree());
        assert!(bits.render().contains("THE NODES DIFFER"));
        let mut checkpoint = outcome();
        checkpoint.heads[0].checkpoint = "cd".repeat(32);
        assert!(!checkpoint.agree());
    }
}
