//! Draws the attacks as pairs of bars.

use std::path::Path;

use anyhow::Context;
use plotters::prelude::*;

use super::defence::Defence;
use super::liar::Attack;
use super::report::Report;

/// Width and height of the drawing in pixels.
const SIZE: (u32, u32) = (900, 460);
/// Colours that stay apart for colour-blind eyes (Okabe & Ito 2008).
const COLOURS: [(Defence, &str, RGBColor); 2] = [
    (Defence::Mean, "plain mean", RGBColor(86, 180, 233)),
    (Defence::Default, "default rules", RGBColor(213, 94, 0)),
];

/// Writes the chart to one SVG file and makes the file's folder if it is missing.
pub fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("--out: cannot make {}", folder.display()))?;
    }
    let svg = draw(report).context("cannot draw the chart")?;
    std::fs::write(path, svg).with_context(|| format!("--out: cannot write {}", path.display()))
}

fn draw(report: &Report) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let count = Attack::ALL.len();
        let mut chart = ChartBuilder::on(&area)
            .caption("accuracy after the last round, by attack", ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..count as f64, 0.0..115.0)?;
        let name = |x: &f64| {
            Attack::ALL
                .get(*x as usize)
                .map_or(String::new(), |attack| attack.name().to_owned())
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE.mix(0.0))
            .x_labels(count + 2)
            .y_label_formatter(&|y| format!("{y:.0}"))
            .x_label_offset(58)
            .x_label_formatter(&name)
            .y_desc("held-out accuracy, %")
            .label_style(("sans-serif", 14))
            .draw()?;
        for (place, (defence, label, colour)) in COLOURS.into_iter().enumerate() {
            let bars = Attack::ALL.into_iter().enumerate().map(|(i, attack)| {
                let left = i as f64 + 0.15 + 0.35 * place as f64;
                let height = report.percent(attack, defence);
                Rectangle::new([(left, 0.0), (left + 0.33, height)], colour.filled())
            });
            chart
                .draw_series(bars)?
                .label(label)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.9))
            .border_style(BLACK)
            .label_font(("sans-serif", 14))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::report::Row;

    #[test]
    fn every_attack_has_its_name_and_two_bars() {
        let rows = Attack::ALL.into_iter().flat_map(|attack| {
            [Defence::Mean, Defence::Default].map(|defence| Row {
                attack,
                defence,
                accuracy: 0.9,
                liars: None,
            })
        });
        let svg = draw(&Report { rows: rows.collect() }).unwrap();
        for attack in Attack::ALL {
            assert!(svg.contains(attack.name()), "{} is missing", attack.name());
        }
        let bars = |colour: &str| svg.matches(&format!("fill=\"{colour}\"")).count();
        // One more of each colour stands in the legend.
        assert_eq!([bars("#56B4E9"), bars("#D55E00")], [Attack::ALL.len() + 1; 2]);
    }
}
