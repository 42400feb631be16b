//! Two pictures of an overload: how many are served well, and how long the accepted and the refused
//! wait, both over the offered load as a multiple of each subject's own capacity.

use penstock_loadgen::chart::{Axis, Chart, Series, Unit};

use super::{Course, Options, Point};
use crate::error::{Error, Result};

/// Width and height, in CSS pixels.
const SIZE: (u32, u32) = (760, 420);

/// A name for each file, and the SVG. Points that tell of the load side are left out.
pub fn draw(courses: &[Course], options: &Options) -> Result<Vec<(&'static str, String)>> {
    let told = courses
        .iter()
        .any(|course| course.points.iter().any(Point::tells));
    if !told {
        return Ok(Vec::new());
    }
    let mut pictures = vec![("goodput", goodput(courses, options))];
    let answered = |point: &Point| point.latency_p50_ms.is_some() && point.tells();
    if courses
        .iter()
        .any(|course| course.points.iter().any(answered))
    {
        pictures.push(("latency", latency(courses, options)));
    }
    let svg = |(name, chart): (&'static str, Chart)| {
        let svg = chart
            .svg()
            .map_err(|error| Error::Unable(error.to_string()))?;
        Ok((name, svg))
    };
    pictures.into_iter().map(svg).collect()
}

fn chart(title: &str, options: &Options) -> Chart {
    let conditions = format!(
        "{}; good: within {} ms of the intended start; clients wait {} ms, {} at most",
        options.scenario,
        options.objective.as_millis(),
        options.patience.as_millis(),
        options.clients
    );
    Chart::new(title)
        .subtitle(conditions)
        .size(SIZE.0, SIZE.1)
        .x(Axis::linear("offered load, times capacity", Unit::Plain).from_zero())
}

fn goodput(courses: &[Course], options: &Options) -> Chart {
    let mut chart = chart("Goodput under overload", options)
        .y(Axis::linear("good answers, times capacity", Unit::Plain).from_zero())
        .mark_y(1.0, "capacity");
    for course in courses {
        let of_capacity = |point: &Point| point.good_per_second / course.capacity_per_second;
        let series = Series::line(course.subject.name(), course.series(of_capacity));
        chart = chart.series(series);
    }
    chart
}

fn latency(courses: &[Course], options: &Options) -> Chart {
    let objective_ms = options.objective.as_secs_f64() * 1e3;
    let mut chart = chart("Who is answered waits, who is refused waits", options)
        .y(Axis::log("milliseconds", Unit::Plain))
        .mark_y(objective_ms, "objective");
    for course in courses {
        let name = course.subject.name();
        let ms =
            |of: fn(&Point) -> Option<f64>| course.series(move |it| of(it).unwrap_or(f64::NAN));
        let p99 = ms(|point| point.latency_p99_ms);
        chart = chart.series(Series::line(format!("{name}, p99"), p99));
        let refused = ms(|point| point.refusal_p99_ms);
        if refused.iter().any(|(_, ms)| ms.is_finite()) {
            let series = Series::line(format!("{name}, refused, p99"), refused);
            chart = chart.series(series.dashed());
        }
    }
    chart
}

// === impl Course ===

impl Course {
    fn series(&self, of: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
        let told = self.points.iter().filter(|point| point.tells());
        told.map(|point| (point.load, of(point))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::subject::Subject;

    fn point(load: f64, late: bool) -> Point {
        Point {
            load,
            offered_per_second: load * 100.0,
            good_per_second: load.min(1.0) * 100.0,
            answered_share: 1.0,
            refused_share: 0.0,
            failed_share: 0.0,
            given_up_share: 0.0,
            latency_p50_ms: Some(2.0),
            latency_p99_ms: Some(9.0),
            refusal_p50_ms: None,
            refusal_p99_ms: (load > 1.0).then_some(0.5),
            connections: 3,
            lag_p99_ms: 0.1,
            late,
            busy_share: 1.0,
            load_busy_share: 0.5,
            full: false,
            failure: None,
        }
    }

    #[test]
    fn a_line_for_each_subject_and_for_refusals_where_there_are_some() {
        let options = Options {
            scenario: "small".parse().expect("a scenario"),
            subjects: vec![Subject::Floor],
            loads: vec![0.5, 1.0, 2.0],
            window: Duration::from_secs(1),
            objective: Duration::from_millis(100),
            patience: Duration::from_secs(1),
            clients: 10,
        };
        let course = |late| Course {
            subject: Subject::Floor,
            capacity_per_second: 100.0,
            points: [0.5, 1.0, 2.0].map(|load| point(load, late)).into(),
            failure: None,
        };
        assert!(
            draw(&[course(true)], &options)
                .expect("no picture")
                .is_empty()
        );
        let pictures = draw(&[course(false)], &options).expect("pictures");
        let names: Vec<_> = pictures.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["goodput", "latency"]);
        assert!(pictures[1].1.contains("floor, refused, p99"));
    }
}
