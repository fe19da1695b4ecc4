//! Plots, as SVG that stands in a page and takes its colours from there.

use std::fmt::Write;

/// Width of a plot's drawing, in its own units.
const WIDTH: f64 = 500.0;
/// Height of a curve's drawing.
const HEIGHT: f64 = 200.0;
/// Room for numbers at the left, the right, the top and the bottom.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
/// Height of a bar with its room.
const ROW: f64 = 26.0;

/// Text as it may stand in a page.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A number as it may stand at an axis: at most four digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        it if it >= 1e9 => format!("{} G", trimmed(value / 1e9)),
        it if it >= 1e6 => format!("{} M", trimmed(value / 1e6)),
        it if it >= 1e4 => format!("{} k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_string()
}

/// A step of an axis that reaches `most` in about four: 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    let raw = (most / 4.0).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(raw.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    let enough = times.into_iter().find(|times| times * power >= raw);
    enough.unwrap_or(10.0) * power
}

/// The values at which an axis from 0 to `most` has lines. The last is no less than `most`.
fn ticks(most: f64, whole: bool) -> Vec<f64> {
    let mut step = step(most);
    if whole {
        step = step.max(1.0);
    }
    let count = (most / step).ceil().clamp(1.0, 20.0) as usize;
    (0..=count).map(|number| number as f64 * step).collect()
}

/// A curve through points, by ascending x, from the origin of both axes on.
pub fn curve(points: &[(f64, f64)], x_axis: impl Fn(f64) -> String, label: &str) -> String {
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let last_x = most(&mut points.iter().map(|it| it.0)).max(f64::MIN_POSITIVE);
    let rows = ticks(most(&mut points.iter().map(|it| it.1)).max(1.0), true);
    let top = rows.last().copied().unwrap_or(1.0);
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let x = |value: f64| LEFT + value / last_x * width;
    let y = |value: f64| TOP + (1.0 - value / top) * height;
    let mut out = open(HEIGHT, label);
    for value in rows {
        let at = y(value);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            short(value)
        );
    }
    for (part, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            x(part * last_x),
            HEIGHT - 8.0,
            escaped(&x_axis(part * last_x))
        );
    }
    let line: Vec<String> = points
        .iter()
        .map(|(across, up)| format!("{:.1},{:.1}", x(*across), y(*up)))
        .collect();
    if let (Some((first, _)), Some((last, end))) = (points.first(), points.last()) {
        let floor = y(0.0);
        let _ = write!(
            out,
            "<polygon class=\"area\" points=\"{:.1},{floor:.1} {} {:.1},{floor:.1}\"/>\
             <polyline class=\"curve\" points=\"{}\"/>\
             <circle class=\"end\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
            x(*first),
            line.join(" "),
            x(*last),
            line.join(" "),
            x(*last),
            y(*end)
        );
    }
    // What is under the pointer says what it is.
    for pair in points.windows(2) {
        let [(from, _), (to, value)] = pair else {
            continue;
        };
        let _ = write!(
            out,
            "<rect class=\"hover\" x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>{}: {}</title></rect>",
            x(*from),
            (x(*to) - x(*from)).max(0.5),
            escaped(&x_axis(*to)),
            short(*value)
        );
    }
    out.push_str("</svg>");
    out
}

/// A bar: its name, how long it is, how long it could be, and what stands beside it.
pub struct Bar<'a> {
    pub name: &'a str,
    pub value: f64,
    pub of: f64,
    pub text: String,
}

/// Bars, one below the other, each as a part of what it could be.
pub fn bars(bars: &[Bar<'_>], label: &str) -> String {
    const NAMES: f64 = 176.0;
    const TEXTS: f64 = 76.0;
    let height = ROW * bars.len() as f64 + 4.0;
    let width = WIDTH - NAMES - TEXTS;
    let mut out = open(height, label);
    for (number, bar) in bars.iter().enumerate() {
        let at = ROW * number as f64 + 4.0;
        let part = (bar.value / bar.of.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        let long = if part > 0.0 {
            (part * width).max(2.0)
        } else {
            0.0
        };
        let (name, text) = (escaped(bar.name), escaped(&bar.text));
        let _ = write!(
            out,
            "<g><title>{name}: {text}</title>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"rest\" x=\"{NAMES}\" y=\"{at:.1}\" width=\"{width}\" height=\"16\" rx=\"3\"/>\
             <rect class=\"bar\" x=\"{NAMES}\" y=\"{at:.1}\" width=\"{long:.1}\" height=\"16\" rx=\"3\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{text}</text></g>",
            NAMES - 10.0,
            at + 12.5,
            NAMES + width + 10.0,
            at + 12.5,
        );
    }
    out.push_str("</svg>");
    out
}

fn open(height: f64, label: &str) -> String {
    let label = escaped(label);
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers_and_reach_far_enough() {
        for most in [1.0, 3.0, 7.0, 99.0, 100.0, 437.0, 12_345.0, 9.9e8] {
            let ticks = ticks(most, true);
            assert!((2..=8).contains(&ticks.len()), "{most}: {ticks:?}");
            assert!(
                ticks.last().is_some_and(|last| *last >= most),
                "{most}: {ticks:?}"
            );
        }
        assert_eq!(ticks(437.0, true), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(
            [short(0.0), short(12_345.0), short(2.5e6)],
            ["0", "12.3 k", "2.5 M"]
        );
    }

    #[test]
    fn no_points_no_harm() {
        for points in [&[][..], &[(0.0, 0.0)], &[(1.0, 5.0), (1.0, 5.0)]] {
            let svg = curve(points, |it| it.to_string(), "a <b>");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.contains("a &lt;b&gt;"));
        }
        assert!(bars(&[], "nothing").ends_with("</svg>"));
    }
}
