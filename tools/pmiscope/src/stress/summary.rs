//! What a storm of boots has shown, as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::Plan;
use super::judge::Verdict;
use crate::units::grouped;

/// What the boots have shown until now.
#[derive(Debug, Default)]
pub struct Summary {
    sampled: u64,
    /// By message.
    refused: BTreeMap<&'static str, u64>,
    /// The numbers of the boots.
    failed: Vec<u32>,
    samples: u64,
    cores: u64,
    /// Cores without which a boot loader went on.
    not_started: u64,
    /// How many boots had which value of an axis.
    axes: Vec<(&'static str, BTreeMap<String, u64>)>,
}

/// The most values of an axis that are shown.
const SHOWN: usize = 20;

impl Summary {
    pub fn add(&mut self, plan: &Plan, verdict: &Verdict) {
        match verdict {
            Verdict::Sampled { cores, samples } => {
                self.sampled += 1;
                self.samples += samples;
                self.cores += cores;
                self.not_started += u64::from(plan.configuration.machine.cores) - cores;
            }
            Verdict::Refused(refusal) => *self.refused.entry(refusal.says).or_default() += 1,
            Verdict::Failed(_) => self.failed.push(plan.number),
        }
        for (axis, value) in plan.configuration.axes() {
            let place = self.axes.iter().position(|(name, _)| *name == axis);
            let place = place.unwrap_or_else(|| {
                self.axes.push((axis, BTreeMap::new()));
                self.axes.len() - 1
            });
            *self.axes[place].1.entry(value).or_default() += 1;
        }
    }

    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Boots until now.
    #[must_use]
    pub fn boots(&self) -> u64 {
        let refused: u64 = self.refused.values().sum();
        self.sampled + refused + self.failed.len() as u64
    }

    /// The summary, with what was not covered.
    #[must_use]
    pub fn text(&self, missing: &[String], took: Duration) -> String {
        let mut text = String::new();
        let refused: u64 = self.refused.values().sum();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line(
            "boots",
            format!(
                "{}: {} sampled, {} refused as expected, {} not as expected",
                grouped(self.boots()),
                grouped(self.sampled),
                grouped(refused),
                grouped(self.failed.len() as u64)
            ),
        );
        line("seconds", grouped(took.as_secs()));
        line(
            "sampled",
            format!(
                "{} cores, {} samples",
                grouped(self.cores),
                grouped(self.samples)
            ),
        );
        if self.not_started > 0 {
            let cores = grouped(self.not_started);
            line(
                "not started",
                format!("{cores} cores, by Limine on a busy host"),
            );
        }
        for (says, times) in &self.refused {
            line("refused", format!("{} with `{says}`", grouped(*times)));
        }
        for (axis, values) in &self.axes {
            line(axis, of_axis(values));
        }
        for what in missing {
            line("not covered", what.clone());
        }
        if !self.failed.is_empty() {
            let numbers: Vec<_> = self.failed.iter().map(ToString::to_string).collect();
            line("failed", format!("boots {}", numbers.join(", ")));
        }
        text
    }
}

/// The values of an axis with their numbers of boots, or how many values there are.
fn of_axis(values: &BTreeMap<String, u64>) -> String {
    let numbers: Option<Vec<u64>> = values.keys().map(|value| value.parse().ok()).collect();
    if let (Some(numbers), true) = (numbers, values.len() > SHOWN) {
        let (least, most) = (numbers.iter().min(), numbers.iter().max());
        let [least, most] = [least, most].map(|number| grouped(*number.unwrap_or(&0)));
        return format!("{} values, {least} to {most}", values.len());
    }
    let all = values
        .iter()
        .map(|(value, times)| format!("{value} ({times})"));
    all.collect::<Vec<_>>().join(", ")
}
