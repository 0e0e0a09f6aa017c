//! Times, what becomes of them, and memory.

use std::fs;
use std::time::{Duration, Instant};

/// The times of calls, each by itself.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

/// What many calls took, in microseconds, and how many of them a second has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) mean: f64,
    pub(crate) per_second: f64,
}

impl Times {
    pub(crate) fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let answer = call();
        self.0.push(start.elapsed());
        answer
    }

    pub(crate) fn summary(mut self) -> Summary {
        self.0.sort_unstable();
        let count = self.0.len();
        // The smallest time that so many in a hundred are not above.
        let percentile = |percent: usize| {
            let rank = (count * percent).div_ceil(100).saturating_sub(1);
            self.0.get(rank).copied().map_or(0.0, micros)
        };
        let total = micros(self.0.iter().sum()).max(0.001);
        let calls = float(count as u64).max(1.0);
        Summary {
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            mean: total / calls,
            per_second: calls / total * 1e6,
        }
    }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "measurements are not that precise")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// The most memory that this process ever held, where the system says so.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// From here on the peak is a new one, where the system can do that.
pub(crate) fn reset_peak_memory() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = Times((1..=200).rev().map(Duration::from_micros).collect());
        let Summary { p50, p95, p99, mean, per_second } = times.summary();
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-6, "{found}");
        near(p50, 100.0);
        near(p95, 190.0);
        near(p99, 198.0);
        near(mean, 100.5);
        near(per_second, 1e6 / 100.5);
        near(Times(vec![Duration::from_micros(7)]).summary().p99, 7.0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_is_known() {
        assert!(peak_memory() > Some(1 << 20));
    }
}
