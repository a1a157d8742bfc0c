//! What handlers cost, from the samples of a profile.

use std::collections::BTreeMap;

use pmiscope::internals::Profile;
use profiler::format::{ChainEnd, Sample};

/// Samples that a depth must have for its median to count.
const ENOUGH: usize = 20;

/// A straight line.
pub struct Line {
    pub fixed: f64,
    pub per_frame: f64,
}

/// Calls `each` with the samples of the first core, in order.
fn for_each_sample(profile: &Profile, mut each: impl FnMut(&Sample<'_>)) {
    profile
        .for_each_record(0, |record| {
            if let Ok(sample) = Sample::decode(record) {
                each(&sample);
            }
        })
        .expect("what the bench has written can be read");
}

/// The cost of a handler by the frames of its chain: the line through the medians of each
/// depth that has enough samples. A sample says what the handler before it has cost.
pub fn by_depth(profile: &Profile) -> Line {
    let mut costs = BTreeMap::<usize, Vec<u32>>::new();
    let mut depth = None;
    for_each_sample(profile, |sample| {
        if let Some(depth) = depth {
            costs.entry(depth).or_default().push(sample.handler_cost);
        }
        let is_complete = sample.end == ChainEnd::Complete;
        depth = is_complete.then_some(sample.chain_words.len());
    });
    line_of(costs)
}

/// The same of samples that were counted in place, in a run that keeps chains: by the samples that are in
/// its ring, and the same run's samples, of which the chains are known.
pub fn of_counted(samples: &Profile, chains: &Profile) -> Line {
    let mut depths = BTreeMap::new();
    for_each_sample(samples, |sample| {
        let is_complete = sample.end == ChainEnd::Complete;
        depths.extend(is_complete.then_some((sample.sequence, sample.chain_words.len())));
    });
    let mut in_ring = BTreeMap::new();
    for_each_sample(chains, |sample| {
        in_ring.insert(sample.sequence, sample.handler_cost);
    });
    let mut costs = BTreeMap::<usize, Vec<u32>>::new();
    for (number, &cost) in &in_ring {
        let Some(before) = number.checked_sub(1) else {
            continue;
        };
        let depth = depths
            .get(&before)
            .filter(|_| !in_ring.contains_key(&before));
        if let Some(&depth) = depth {
            costs.entry(depth).or_default().push(cost);
        }
    }
    line_of(costs)
}

/// The line through the medians of each depth that has enough samples.
fn line_of(mut costs: BTreeMap<usize, Vec<u32>>) -> Line {
    costs.retain(|_, costs| costs.len() >= ENOUGH);
    let points = costs.iter_mut().map(|(&depth, costs)| {
        costs.sort_unstable();
        #[allow(clippy::cast_precision_loss)] // at most 64
        let depth = depth as f64;
        (depth, f64::from(costs[costs.len() / 2]))
    });
    line_through(&points.collect::<Vec<_>>())
}

/// The line with the least squares.
fn line_through(points: &[(f64, f64)]) -> Line {
    assert!(points.len() > 1, "samples of several depths");
    #[allow(clippy::cast_precision_loss)] // some dozen
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let [x, y] = [mean(|point| point.0), mean(|point| point.1)];
    let products = points.iter().map(|point| (point.0 - x) * (point.1 - y));
    let squares = points.iter().map(|point| (point.0 - x).powi(2));
    let per_frame = products.sum::<f64>() / squares.sum::<f64>();
    Line {
        fixed: y - per_frame * x,
        per_frame,
    }
}

/// What an overflow of the first event costs in the median, whatever overflows with it: the clock
/// counts all instructions, and a sample says how many of them were not the handler's.
pub fn of_overflow(profile: &Profile) -> u64 {
    let (mut last, mut costs) = (None, Vec::new());
    for_each_sample(profile, |sample| {
        if sample.event != 0 {
            return;
        }
        if let Some(last) = last.replace(sample.time) {
            costs.push(sample.time - last - sample.period);
        }
    });
    let middle = costs.len() / 2;
    *costs.select_nth_unstable(middle).1
}
