//! The table of attacks.

use std::fmt::Write;

use super::defence::Defence;
use super::liar::Attack;

/// Most points of accuracy that the worst attack may cost with the default rules.
const WORST_COST_MAX: f64 = 3.0;
/// Most points of accuracy that the default rules may cost without liars.
const CLEAN_COST_MAX: f64 = 1.0;

/// The outcome of one attack against one defence.
#[derive(Debug, Clone)]
pub struct Row {
    pub attack: Attack,
    pub defence: Defence,
    /// Held-out accuracy after the last round, 0 to 1.
    pub accuracy: f64,
    /// The mean weight of the liars' contributions and the mean share that they claim, by the nodes' verdicts.
    pub liars: Option<(f64, f64)>,
}

impl Row {
    /// Formats the row for the time of the run.
    pub fn line(&self) -> String {
        let verdict = self.liars.map_or(String::new(), |(weight, claimed)| {
            format!("; a liar has the weight {weight:.3}, and claims {claimed:.3}")
        });
        format!(
            "  {:<14} {:<8} {:>5.1} %{verdict}",
            self.attack.name(),
            self.defence.name(),
            self.accuracy * 100.0
        )
    }
}

/// All rows.
#[derive(Debug, Default)]
pub struct Report {
    pub rows: Vec<Row>,
}

impl Report {
    /// Returns the accuracy of an attack against a defence in percent.
    pub fn percent(&self, attack: Attack, defence: Defence) -> f64 {
        let row = self
            .rows
            .iter()
            .find(|row| row.attack == attack && row.defence == defence);
        row.map_or(0.0, |row| row.accuracy * 100.0)
    }

    /// Returns what the default rules cost in points of accuracy: without liars, and under the worst attack. Both are
    /// compared with the mean without liars.
    fn costs(&self) -> (f64, f64) {
        let clean = self.percent(Attack::None, Defence::Mean);
        let cost = |attack| clean - self.percent(attack, Defence::Default);
        (
            cost(Attack::None),
            Attack::ALL.map(cost).into_iter().fold(f64::MIN, f64::max),
        )
    }

    /// Returns true if the default rules kept to the limits.
    pub fn held(&self) -> bool {
        let (clean, worst) = self.costs();
        clean <= CLEAN_COST_MAX && worst <= WORST_COST_MAX
    }

    /// Formats the table.
    pub fn render(&self) -> String {
        let mut text =
            String::from("  attack          liars   plain mean   default rules   weight of a liar (claimed)\n");
        for attack in Attack::ALL {
            let verdict = self
                .rows
                .iter()
                .find(|row| row.attack == attack && row.defence == Defence::Default);
            let weight = verdict
                .and_then(|row| row.liars)
                .map_or(String::new(), |(weight, claimed)| format!("{weight:.3} ({claimed:.3})"));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {:<14} {:>6} {:>10.1} % {:>13.1} %   {weight}",
                attack.name(),
                attack.liars(),
                self.percent(attack, Defence::Mean),
                self.percent(attack, Defence::Default),
            );
        }
        let (clean, worst) = self.costs();
        let _ = write!(
            text,
            "\n  the default rules cost {clean:.1} points without liars (limit {CLEAN_COST_MAX}), and {worst:.1} under the worst attack \
             (limit {WORST_COST_MAX})"
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costs_are_those_of_the_worst_attack() {
        let row = |attack, defence, accuracy| Row {
            attack,
            defence,
            accuracy,
            liars: None,
        };
        let mut report = Report::default();
        for attack in Attack::ALL {
            report.rows.push(row(attack, Defence::Mean, 0.97));
            report.rows.push(row(attack, Defence::Default, 0.965));
        }
        assert!(report.held(), "{}", report.render());
        report.rows[5].accuracy = 0.93;
        assert!(!report.held());
        assert!(
            report.render().contains("4.0 under the worst attack"),
            "{}",
            report.render()
        );
    }
}
