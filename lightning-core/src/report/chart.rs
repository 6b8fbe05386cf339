//! Curves, as SVG within a page.

use std::fmt::{self, Write as _};

use super::html::Escaped;
use crate::terminal::number;

/// The drawing, in units of its own; a browser scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
/// What is left for the numbers at its sides.
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 24.0;
const MARGIN: f64 = 10.0;
/// More points are drawn as what lies between the least and the greatest of each stretch.
const STRETCHES: usize = 300;
/// Up to here each point is marked.
const MARKED: usize = 80;

/// A curve over the points, which come in the order in which they were noted.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// What is counted along the curve.
    pub(super) along: &'a str,
    pub(super) points: &'a [(f64, f64)],
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points: Vec<(f64, f64)> = self
            .points
            .iter()
            .copied()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return write!(
                f,
                "<p class=\"none\">{}: no value is a number</p>",
                Escaped(self.title)
            );
        };
        let (xs, ys) = (
            range(points.iter().map(|p| p.0)),
            range(points.iter().map(|p| p.1)),
        );
        let x = |value: f64| LEFT + place(value, xs) * (WIDTH - LEFT - MARGIN);
        let y = |value: f64| HEIGHT - BOTTOM - place(value, ys) * (HEIGHT - BOTTOM - MARGIN);
        let words = format!(
            "{}: from {} to {} at {} {}, between {} and {}",
            self.title,
            number(first.1),
            number(last.1),
            number(last.0),
            self.along,
            number(ys.0),
            number(ys.1)
        );
        write!(
            f,
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            Escaped(self.title),
            Escaped(&words)
        )?;
        for step in 0..=4 {
            let value = ys.0 / 4.0 * f64::from(4 - step) + ys.1 / 4.0 * f64::from(step);
            let at = if ys.0 == ys.1 && step != 2 {
                continue;
            } else {
                y(value)
            };
            write!(
                f,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - MARGIN,
                LEFT - 6.0,
                at + 4.0,
                Escaped(&number(value))
            )?;
        }
        let (low, high) = (HEIGHT - 6.0, WIDTH - MARGIN);
        write!(
            f,
            "<text x=\"{LEFT}\" y=\"{low}\">{}</text><text x=\"{high}\" y=\"{low}\" text-anchor=\"end\">{} {}</text>",
            Escaped(&number(xs.0)),
            Escaped(&number(xs.1)),
            Escaped(self.along)
        )?;
        let mut path = String::new();
        for (x_at, y_at) in thinned(&points) {
            let step = if path.is_empty() { 'M' } else { 'L' };
            // Writing to a string cannot fail.
            let _ = write!(path, "{step}{:.1} {:.1}", x(x_at), y(y_at));
        }
        write!(f, "<path class=\"curve\" d=\"{path}\"/>")?;
        if points.len() <= MARKED {
            for (x_at, y_at) in &points {
                write!(
                    f,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}: {}</title></circle>",
                    x(*x_at),
                    y(*y_at),
                    Escaped(&number(*x_at)),
                    Escaped(&number(*y_at))
                )?;
            }
        }
        f.write_str("</svg></figure>")
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
        (least.min(value), greatest.max(value))
    })
}

/// Where a value lies within a range, from 0 to 1; in the middle of an empty one.
fn place(value: f64, (least, greatest): (f64, f64)) -> f64 {
    // Halves, since the difference of two finite numbers need not be one.
    let place = (value / 2.0 - least / 2.0) / (greatest / 2.0 - least / 2.0);
    if place.is_finite() {
        place.clamp(0.0, 1.0)
    } else {
        0.5
    }
}

/// The points themselves, or the least and the greatest of each of many stretches, in their order.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 2 * STRETCHES {
        return points.to_vec();
    }
    let mut thin = Vec::with_capacity(2 * STRETCHES);
    for stretch in 0..STRETCHES {
        let part = &points[stretch * points.len() / STRETCHES..(stretch + 1) * points.len() / STRETCHES];
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (Some(least), Some(greatest)) = (part.iter().min_by(by_value), part.iter().max_by(by_value))
        else {
            continue;
        };
        let (first, second) = if least.0 <= greatest.0 {
            (least, greatest)
        } else {
            (greatest, least)
        };
        thin.extend([*first, *second]);
    }
    thin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: &[(f64, f64)]) -> String {
        let chart = Chart {
            title: "a <b>",
            along: "steps",
            points,
        };
        chart.to_string()
    }

    #[test]
    fn a_curve_is_drawn_from_left_to_right_and_from_low_to_high() {
        let svg = drawn(&[(0.0, 0.0), (1.0, 1.0)]);
        assert!(svg.contains("d=\"M56.0 196.0L710.0 10.0\""), "{svg}");
        assert!(
            svg.contains("aria-label=\"a &lt;b&gt;: from 0 to 1 at 1 steps, between 0 and 1\""),
            "{svg}"
        );
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn whatever_the_values_are_the_drawing_stays_within_its_frame() {
        let cases: [&[(f64, f64)]; 6] = [
            &[(1.0, 5.0)],
            &[(1.0, 5.0), (2.0, 5.0)],
            &[(0.0, f64::MAX), (1.0, f64::MIN)],
            &[(0.0, f64::NAN), (1.0, 2.0), (2.0, f64::INFINITY)],
            &[(f64::MAX, 1e-300), (0.0, 0.0)],
            &[(1.0, -0.0), (1.0, 0.0)],
        ];
        for points in cases {
            let svg = drawn(points);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}: {svg}");
        }
        assert!(drawn(&[(0.0, f64::NAN)]).contains("no value is a number"));
    }

    #[test]
    fn of_very_many_points_none_that_stands_out_is_lost() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|step| (f64::from(step), 0.5)).collect();
        points[77_777].1 = 9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= 2 * STRETCHES && thin.contains(&(77_777.0, 9.0)));
        assert!(thin.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(drawn(&points).len() < 20_000);
    }
}
