//! Tables with aligned columns.

use qres_api::printable;

use super::lines::Lines;

/// A table of rows under headings. Every column is as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with these headings and no rows.
    pub fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            rows: vec![headings.into_iter().map(str::to_owned).collect()],
        }
    }

    /// Adds a row, which has a cell for each heading.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // The cells are escaped here already, so that the columns are as wide as the text that is shown.
        let cells: Vec<_> = cells.into_iter().map(|cell| printable(&cell).into_owned()).collect();
        debug_assert_eq!(cells.len(), self.rows[0].len(), "a row has a cell for each heading");
        self.rows.push(cells);
    }

    /// Formats the table as [`Lines`]; returns the text `nothing` if there are no rows.
    pub fn text(&self, nothing: &str) -> Lines {
        if self.rows.len() == 1 {
            return Lines::from(nothing.to_owned());
        }
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let lines: Vec<String> = self.rows.iter().map(line).collect();
        lines.iter().map(String::as_str).collect()
    }
}

/// Formats `key  value` lines, with all lines of the values in one column. A key without a value is left out.
pub fn facts<const N: usize, V: Into<Lines>>(facts: [(&str, Option<V>); N]) -> Lines {
    let known = facts.into_iter().filter_map(|(key, value)| Some((key, value?.into())));
    let known: Vec<(&str, Lines)> = known.collect();
    let width = known.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut lines = Lines::default();
    for (mut key, value) in known {
        for value in value.iter() {
            lines.push(&format!("{key:<width$}  {value}"));
            key = "";
        }
    }
    lines
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
            table.text("none").to_string(),
            "PEER    STATE      WHY\n\
             a       connected\n\
             größer  banned     loud"
        );
        assert_eq!(Table::new(["A"]).text("no peers").to_string(), "no peers");
    }

    #[test]
    fn facts_line_up_and_leave_out_what_is_not_known() {
        let text = facts([
            ("id", Some("7".to_owned())),
            ("parent", None),
            ("round", Some("2".to_owned())),
        ]);
        assert_eq!(text.to_string(), "id     7\nround  2");
    }

    #[test]
    fn a_strangers_text_neither_forges_a_row_nor_shifts_a_column() {
        let mut table = Table::new(["PEER", "STATE"]);
        table.row(["a\u{1b}[31m\nb".into(), "banned".into()]);
        table.row(["b".into(), "connected".into()]);
        assert_eq!(
            table.text("none").to_string(),
            "PEER            STATE\n\
             a\\u001b[31m\\nb  banned\n\
             b               connected"
        );
        let text = facts([("id", Some("7\nstanding  joined".to_owned()))]);
        assert_eq!(text.to_string(), "id  7\\nstanding  joined");
    }
}
