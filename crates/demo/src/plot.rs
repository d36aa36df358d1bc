//! Draws the curves of accuracy as an SVG.

use std::path::Path;

use anyhow::Context;
use plotters::prelude::*;

/// Width and height of the drawing in pixels.
const SIZE: (u32, u32) = (900, 560);
/// Colours that stay apart for colour-blind eyes (Okabe & Ito 2008); the first is the federation's.
const COLOURS: [RGBColor; 7] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// A curve of accuracy.
pub struct Curve {
    /// The name in the legend.
    pub name: String,
    /// The points as `(round, accuracy)`, ascending by round; the accuracy is 0 to 1.
    pub points: Vec<(u64, f64)>,
}

/// Writes each [`Curve`] to one SVG file and makes the file's folder if it is missing.
pub fn write(path: &Path, title: &str, curves: &[Curve]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("--out: cannot make {}", folder.display()))?;
    }
    let svg = draw(title, curves).context("cannot draw the curves")?;
    std::fs::write(path, svg).with_context(|| format!("--out: cannot write {}", path.display()))
}

fn draw(title: &str, curves: &[Curve]) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let last = curves.iter().flat_map(|c| &c.points).map(|(round, _)| *round).max();
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(0..last.unwrap_or(1).max(1), 0.0..1.0)?;
        chart
            .configure_mesh()
            .x_desc("round")
            .y_desc("held-out accuracy")
            .y_label_formatter(&|y| format!("{:.0} %", y * 100.0))
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE.mix(0.0))
            .draw()?;
        for (number, curve) in curves.iter().enumerate() {
            let style = COLOURS[number % COLOURS.len()].stroke_width(width(number, curves.len()));
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), style))?
                .label(&curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

/// Returns the width of a curve's line in pixels. Each curve is drawn over those before it and is thinner, so that of two
/// equal curves both are seen.
fn width(number: usize, count: usize) -> u32 {
    2 * u32::try_from(count.saturating_sub(number)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/on/the/way/accuracy.svg");
        let curve = |name: &str, height: f64| Curve {
            name: name.into(),
            points: (1..=20).map(|r| (r, height * r as f64 / 20.0)).collect(),
        };
        let curves = [curve("federated", 0.93), curve("alone", 0.4)];
        write(&path, "Digits", &curves).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["federated", "alone", "Digits", "held-out accuracy", "100 %"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.matches("<polyline").count() >= 2);
    }

    #[test]
    fn of_curves_that_are_alike_all_are_seen() {
        let curve = |name: String| Curve {
            name,
            points: (1..=20).map(|r| (r, 0.9)).collect(),
        };
        let curves: Vec<_> = (0..COLOURS.len()).map(|n| curve(format!("curve {n}"))).collect();
        let svg = draw("Alike", &curves).unwrap();
        let lines = svg
            .lines()
            .filter(|line| line.contains("<polyline") && line.contains("stroke-width"));
        let widths: Vec<u32> = lines
            .filter_map(|line| line.split("stroke-width=\"").nth(1)?.split('"').next()?.parse().ok())
            .filter(|width| *width > 1)
            .collect();
        for lower in 1..curves.len() {
            let (wide, narrow) = (width(lower - 1, curves.len()), width(lower, curves.len()));
            assert!(widths.contains(&wide) && widths.contains(&narrow), "{widths:?}");
            assert!(wide >= narrow + 2, "a pixel of the lower curve on each side");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write(&file.path().join("a.svg"), "", &[]).unwrap_err();
        assert!(error.to_string().contains("--out"), "{error}");
    }
}
