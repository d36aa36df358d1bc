//! Columns that line up.

/// Rows under a heading, every column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.map(str::to_owned).to_vec()],
        }
    }

    /// Adds a row: as many cells as there are headings.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.rows[0].len(), "a row has a cell for each heading");
        self.rows.push(cells.to_vec());
    }

    /// The text; `nothing` when there are no rows.
    pub fn text(&self, nothing: &str) -> String {
        if self.rows.len() == 1 {
            return nothing.to_owned();
        }
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// `key  value` lines, values in one column; lines without a value are left out.
pub fn facts<const N: usize>(facts: [(&str, Option<String>); N]) -> String {
    let known = facts.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let width = known.clone().map(|(key, _)| key.len()).max().unwrap_or(0);
    let lines = known.map(|(key, value)| format!("{key:<width$}  {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_spaces() {
        let mut table = Table::new(["PEER", "STATE", "WHY"]);
        table.row(["a".into(), "connected".into(), String::new()]);
        table.row(["größer".into(), "banned".into(), "loud".into()]);
        assert_eq!(
            table.text("none"),
            "PEER    STATE      WHY\n\
             a       connected\n\
             größer  banned     loud"
        );
        assert_eq!(Table::new(["A"]).text("no peers"), "no peers");
    }

    #[test]
    fn facts_line_up_and_leave_out_what_is_not_known() {
        let text = facts([("id", Some("7".into())), ("parent", None), ("round", Some("2".into()))]);
        assert_eq!(text, "id     7\nround  2");
    }
}
