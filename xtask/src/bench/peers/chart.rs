//! The chart of the record: one panel for each figure, one bar for each column, with the least and the most as a line.

use svg::Document;
use svg::node::element::{Line, Rectangle, Text};

use crate::report::{Row, figure};

const PANEL: f64 = 460.0;
const PANELS_ABREAST: usize = 2;
const LABEL: f64 = 170.0;
const BAR: f64 = 18.0;
const TITLE: f64 = 34.0;
const MARGIN: f64 = 20.0;
/// What is left of a panel for the longest bar, with the figure behind it.
const LENGTH: f64 = PANEL - LABEL - 80.0;
const COLOURS: [&str; 7] = ["#1b6ca8", "#e07a1f", "#3f9b57", "#8d5fb0", "#b8433f", "#6b6b6b", "#c2a01d"];
const INK: &str = "#222222";

/// Draws the rows.
pub(super) fn draw(rows: &[Row]) -> String {
    let mut subjects: Vec<&str> = Vec::new();
    let mut panels: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        if !subjects.contains(&row.subject.as_str()) {
            subjects.push(&row.subject);
        }
        let same = |panel: &&mut Vec<&Row>| {
            panel.iter().any(|first| (&first.case, &first.metric) == (&row.case, &row.metric))
        };
        match panels.iter_mut().find(same) {
            Some(panel) => panel.push(row),
            None => panels.push(vec![row]),
        }
    }
    // Nothing but zeros is no picture.
    panels.retain(|panel| panel.iter().any(|row| row.max > 0.0));
    let mut document = Document::new();
    let mut top = MARGIN;
    for abreast in panels.chunks(PANELS_ABREAST) {
        for (panel, left) in abreast.iter().zip([MARGIN, MARGIN + PANEL]) {
            document = draw_panel(document, panel, &subjects, left, top);
        }
        let bars = abreast.iter().map(Vec::len).max().unwrap_or(0);
        top += TITLE + bars as f64 * BAR + MARGIN;
    }
    let width = 2.0 * MARGIN + PANEL * PANELS_ABREAST as f64;
    let document = document
        .set("viewBox", (0, 0, width, top))
        .set("width", width)
        .set("height", top)
        .set("font-family", "sans-serif")
        .set("font-size", 12)
        .set("style", "background:#ffffff");
    document.to_string() + "\n"
}

fn draw_panel(document: Document, panel: &[&Row], subjects: &[&str], left: f64, top: f64) -> Document {
    let Some(first) = panel.first() else { return document };
    let most = panel.iter().map(|row| row.max).fold(f64::MIN_POSITIVE, f64::max);
    let title = format!("{}: {}, {}", first.case, first.metric, first.unit);
    let mut document = document.add(text(title, left, top + 16.0).set("font-weight", "bold"));
    for (row, line) in panel.iter().zip(0_u16..) {
        let y = top + TITLE - 6.0 + f64::from(line) * BAR;
        let colour = subjects.iter().position(|subject| *subject == row.subject).unwrap_or(0);
        let colour = COLOURS[colour % COLOURS.len()];
        let (bar, start) = (LENGTH * row.median / most, left + LABEL);
        let [least, most] = [row.min, row.max].map(|value| start + LENGTH * value / most);
        let name: String = row.subject.chars().take(28).collect();
        let middle = y + (BAR - 4.0) / 2.0;
        document = document
            .add(text(name, start - 6.0, y + 11.0).set("text-anchor", "end"))
            .add(
                Rectangle::new()
                    .set("x", start)
                    .set("y", y)
                    .set("width", bar)
                    .set("height", BAR - 4.0)
                    .set("fill", colour),
            )
            .add(
                Line::new()
                    .set("x1", least)
                    .set("x2", most)
                    .set("y1", middle)
                    .set("y2", middle)
                    .set("stroke", INK)
                    .set("stroke-width", 1.5),
            )
            .add(text(figure(row.median), start + bar.max(most - start) + 6.0, y + 11.0));
    }
    document
}

fn text(content: impl Into<String>, x: f64, y: f64) -> Text {
    Text::new(content).set("x", x).set("y", y).set("fill", INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_panel_and_each_column_a_bar() {
        let row = |subject, metric, samples: &[f64]| Row::new("b", subject, "case", metric, "u", samples);
        let rows = [
            row("ours", "rate", &[2.0, 4.0]),
            row("a & b", "rate", &[1.0]),
            row("ours", "trip", &[0.5]),
            row("ours", "reordered", &[0.0]),
        ];
        let drawing = draw(&rows);
        assert_eq!((drawing.matches("<rect").count(), drawing.matches("bold").count()), (3, 2));
        assert!(drawing.contains("a &amp; b") && drawing.starts_with("<svg"), "{drawing}");
        // The longest bar ends where its spread does, three quarters of the way; the other half of that.
        for length in [LENGTH * 0.75, LENGTH * 0.25] {
            assert!(drawing.contains(&format!("width=\"{length}\"")), "{length}: {drawing}");
        }
    }
}
