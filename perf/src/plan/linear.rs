//! Small systems of linear equations, for fits of a few unknowns.

/// Solves `n` equations, each `n` coefficients and a right side, by elimination with the largest
/// pivot first; none when they do not determine every unknown.
pub fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let size = rows.len();
    for column in 0..size {
        let largest = (column..size).max_by(|&a, &b| {
            let (a, b): (f64, f64) = (rows[a][column].abs(), rows[b][column].abs());
            a.total_cmp(&b)
        })?;
        rows.swap(column, largest);
        let scale = rows[column]
            .iter()
            .take(size)
            .map(|v| v.abs())
            .fold(0.0, f64::max);
        if rows[column][column].abs() <= 1e-13 * scale || scale == 0.0 {
            return None;
        }
        for other in 0..size {
            if other == column {
                continue;
            }
            let factor = rows[other][column] / rows[column][column];
            let pivot = rows[column].clone();
            for (value, above) in rows[other].iter_mut().zip(&pivot).skip(column) {
                *value -= factor * above;
            }
        }
    }
    let solved: Vec<f64> = (0..size).map(|i| rows[i][size] / rows[i][i]).collect();
    solved
        .iter()
        .all(|value| value.is_finite())
        .then_some(solved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_solved_in_any_order_and_refused_when_they_say_the_same_twice() {
        let rows = vec![vec![0.0, 2.0, 6.0], vec![1.0, 1.0, 5.0]];
        assert_eq!(solve(rows), Some(vec![2.0, 3.0]));
        let twice = vec![vec![1.0, 2.0, 3.0], vec![2.0, 4.0, 6.0]];
        assert_eq!(solve(twice), None);
        assert_eq!(solve(vec![vec![0.0, 1.0]]), None);
    }
}
