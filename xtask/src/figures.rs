//! `cargo xtask figures`: the sweeps of the virtual machine of many cores, as rows and as charts.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use svg::Document;
use svg::node::element::{Circle, Line, Polyline, Text};

/// What to run and draw, and where to.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory for the rows and the charts.
    #[arg(long, default_value = "docs/figures")]
    to: PathBuf,
    /// The sweeps to run, by the names in `wg-sim/examples/figures.rs`; all of them if none is named.
    sweeps: Vec<String>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 40.0;
/// What is left at the right for names.
const RIGHT: f64 = 210.0;
const TOP: f64 = 30.0;
const COLOURS: [&str; 9] =
    ["#1b6ca8", "#e07a1f", "#3f9b57", "#8d5fb0", "#b8433f", "#6b6b6b", "#c2a01d", "#17858a", "#d17ba6"];
const INK: &str = "#222222";

/// A row of the sweeps.
#[derive(Debug)]
struct Row {
    figure: String,
    series: String,
    x: f64,
    y: f64,
    unit: String,
    note: String,
}

/// Runs the sweeps, writes their rows, and draws each figure.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    sweep(options).map_err(|error| format!("figures: {error}"))
}

fn sweep(options: &Options) -> io::Result<()> {
    let sweeps = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "-p", "wg-sim", "--example", "figures", "--"])
        .args(&options.sweeps)
        .output()?;
    if !sweeps.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&sweeps.stderr).into_owned()));
    }
    let text = String::from_utf8_lossy(&sweeps.stdout);
    let rows: Vec<Row> = text.lines().skip(1).filter_map(parse).collect();
    fs::create_dir_all(&options.to)?;
    let mut figures: Vec<&str> = Vec::new();
    for row in &rows {
        if !figures.contains(&row.figure.as_str()) {
            figures.push(&row.figure);
        }
    }
    for figure in figures {
        let of_figure: Vec<&Row> = rows.iter().filter(|row| row.figure == figure).collect();
        let lines = text.lines().filter(|line| line.split(',').next().is_some_and(|name| name == figure));
        let header = text.lines().take(1);
        let table: Vec<&str> = header.chain(lines).collect();
        fs::write(options.to.join(format!("{figure}.csv")), table.join("\n") + "\n")?;
        fs::write(options.to.join(format!("{figure}.svg")), draw(figure, &of_figure))?;
    }
    println!("{} rows in {}", rows.len(), options.to.display());
    Ok(())
}

fn parse(line: &str) -> Option<Row> {
    let mut fields = line.split(',');
    let mut next = || fields.next().map(str::to_owned);
    let (figure, series) = (next()?, next()?);
    let (x, y) = (next()?.parse().ok()?, next()?.parse().ok()?);
    Some(Row { figure, series, x, y, unit: next()?, note: next()? })
}

/// Draws lines for what was simulated, and circles for points of a paper.
fn draw(figure: &str, rows: &[&Row]) -> String {
    let most = |value: fn(&Row) -> f64| rows.iter().map(|row| value(row)).fold(f64::MIN_POSITIVE, f64::max);
    let (most_x, most_y) = (most(|row| row.x), most(|row| row.y));
    let at = |row: &Row| {
        let x = LEFT + (WIDTH - LEFT - RIGHT) * row.x / most_x;
        let y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * row.y / most_y;
        (x, y)
    };
    let unit = rows.first().map_or("", |row| &row.unit);
    let mut document = Document::new()
        .set("viewBox", (0, 0, WIDTH, HEIGHT))
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .set("font-family", "sans-serif")
        .set("font-size", 11)
        .set("style", "background:#ffffff")
        .add(text(format!("{figure}, {unit}"), LEFT, 16.0).set("font-weight", "bold"))
        .add(line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM))
        .add(line(LEFT, TOP, LEFT, HEIGHT - BOTTOM))
        .add(text(format!("{most_y:.2}"), LEFT - 6.0, TOP + 4.0).set("text-anchor", "end"))
        .add(text("0", LEFT - 6.0, HEIGHT - BOTTOM + 4.0).set("text-anchor", "end"))
        .add(text(format!("{most_x}"), WIDTH - RIGHT, HEIGHT - BOTTOM + 16.0).set("text-anchor", "end"));
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.series.as_str()) {
            names.push(&row.series);
        }
    }
    for (place, name) in (0_u16..).zip(&names) {
        let base = name.strip_suffix(": paper").unwrap_or(name);
        let colour = names.iter().position(|other| *other == base).unwrap_or_else(|| usize::from(place));
        let colour = COLOURS[colour % COLOURS.len()];
        let points = rows.iter().filter(|row| row.series == *name);
        if points.clone().any(|row| row.note == "paper") {
            for row in points {
                let (x, y) = at(row);
                let circle = Circle::new().set("cx", x).set("cy", y).set("r", 4).set("fill", "none");
                document = document.add(circle.set("stroke", colour).set("stroke-width", 2));
            }
        } else {
            let points: Vec<String> =
                points.map(|row| at(row)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let polyline = Polyline::new().set("points", points.join(" ")).set("fill", "none");
            document = document.add(polyline.set("stroke", colour).set("stroke-width", 1.5));
        }
        let y = TOP + 6.0 + 15.0 * f64::from(place);
        document = document.add(text(*name, WIDTH - RIGHT + 12.0, y).set("fill", colour));
    }
    document.to_string() + "\n"
}

fn text(content: impl Into<String>, x: f64, y: f64) -> Text {
    Text::new(content).set("x", x).set("y", y).set("fill", INK)
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64) -> Line {
    Line::new().set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2).set("stroke", INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_simulated_is_a_line_and_a_paper_has_points() {
        let rows: Vec<Row> = ["f,a,1,2,u,", "f,a,2,4,u,fitted", "f,a: paper,2,3,u,paper", "no row"]
            .into_iter()
            .filter_map(parse)
            .collect();
        assert_eq!(rows.len(), 3);
        let drawing = draw("f", &rows.iter().collect::<Vec<_>>());
        assert_eq!((drawing.matches("<polyline").count(), drawing.matches("<circle").count()), (1, 1));
        assert_eq!(
            drawing.matches(COLOURS[0]).count(),
            4,
            "a series and its points have one colour: {drawing}"
        );
    }
}
