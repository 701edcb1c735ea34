//! The cost oracle: processor time of this thread per byte, for a short input and for one of the same shape that is 32
//! times as long. A linear path costs as much for each byte, a quadratic one 32 times as much.
//!
//! The bound lies far from both, the least of several measurements counts, and a suspicion is looked at again: time of
//! other threads and of other programs does not count here, but they empty the caches.

use std::time::Duration;

use fastrand::Rng;
use rustix::time::{ClockId, clock_gettime};

use super::Target;

const SHORT: usize = 16 << 10;
const TIMES: usize = 32;
/// How many times as much a byte of the long input may cost.
const GROWTH_MAX: f64 = 10.0;
/// What costs less in all is not worth a look.
const CHEAP: Duration = Duration::from_millis(4);
const LOOKS: usize = 5;

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn cost(target: &Target, input: &[u8]) -> Duration {
    let least = (0..3).map(|_| {
        let before = processor_time();
        (target.work)(input);
        processor_time() - before
    });
    least.min().expect("measured")
}

/// Panics if a byte costs more, the longer the input of this shape is.
pub fn check_linear(target: &Target, shape: usize) {
    let input = |len| (target.generate)(&mut Rng::with_seed(7), shape, len);
    let (short, long) = (input(SHORT), input(SHORT * TIMES));
    let mut least = f64::INFINITY;
    for _ in 0..LOOKS {
        let whole = cost(target, &long);
        if whole < CHEAP {
            return;
        }
        let each = |cost: Duration, input: &[u8]| cost.as_secs_f64() / input.len() as f64;
        least = least.min(each(whole, &long) / each(cost(target, &short), &short));
        if least <= GROWTH_MAX {
            return;
        }
    }
    panic!(
        "{}, shape {shape}: {} bytes cost {least:.1} times as much for each byte as {}",
        target.name,
        long.len(),
        short.len()
    );
}
