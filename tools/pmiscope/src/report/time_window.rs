//! A window of a run's time, as `--time` says it.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use profiler::format::Clock;

/// From when to when; what is missing is the run's begin or end.
#[derive(Clone, PartialEq, Debug)]
pub struct TimeWindow {
    /// As it was said.
    text: String,
    from: Option<Moment>,
    to: Option<Moment>,
}

const EXPECTED: &str = "must be FROM,TO such as 1.2s,1.4s or 10%-20%";
const NOTHING: &str = "there is nothing between the two";

/// A moment of a run.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
enum Moment {
    Nanoseconds(u64),
    /// Where the clock counts something else.
    Ticks(u64),
    /// Of the time of the last sample.
    Percent(f64),
}

impl TimeWindow {
    /// The times of samples in it, in ticks of the run's clock: from the first, up to and without the
    /// second. `last` is the time of the last sample.
    ///
    /// # Errors
    ///
    /// The clock does not say it so, or nothing is in it.
    pub fn ticks(&self, clock: Clock, last: u64) -> Result<Range<u64>, String> {
        let tick = |moment: Moment| match moment {
            Moment::Ticks(ticks) => Ok(ticks),
            Moment::Nanoseconds(time) if clock != Clock::Ticks => Ok(time),
            Moment::Nanoseconds(_) => Err(format!(
                "--time {self}: nothing says how long a tick of the run's clock takes: say it as % of the run, or as a number of ticks (100t)"
            )),
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss
            )]
            // to within a tick or so
            Moment::Percent(percent) => Ok((percent / 100.0 * (last as f64 + 1.0)).round() as u64),
        };
        let start = self.from.map_or(Ok(0), tick)?;
        let end = self.to.map_or(Ok(u64::MAX), tick)?;
        if start >= end {
            return Err(format!("--time {self}: {NOTHING}"));
        }
        Ok(start..end)
    }
}

impl FromStr for TimeWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let both = text.split_once(',').or_else(|| text.split_once('-'));
        let (from, to) = both.ok_or(EXPECTED)?;
        let window = Self {
            text: text.to_owned(),
            from: moment(from)?,
            to: moment(to)?,
        };
        if window.from.or(window.to).is_none() {
            return Err(EXPECTED.into());
        }
        refuse_half_percent([from.trim(), to.trim()])?;
        // Of two kinds, which one is first is the run's to say.
        let are_alike =
            |(from, to)| std::mem::discriminant::<Moment>(from) == std::mem::discriminant(to);
        let both = window.from.as_ref().zip(window.to.as_ref());
        if both.is_some_and(|both| are_alike(both) && both.0 >= both.1) {
            return Err(NOTHING.into());
        }
        Ok(window)
    }
}

/// Refuses a number without a unit beside a percentage: by the rule it is seconds, and meant it may be
/// as the other one.
fn refuse_half_percent(both: [&str; 2]) -> Result<(), String> {
    let is_plain = |text: &&str| text.parse::<f64>().is_ok_and(|number| number != 0.0);
    if !both.iter().any(|text| text.ends_with('%')) {
        return Ok(());
    }
    let plain = both.into_iter().find(is_plain);
    plain.map_or(Ok(()), |plain| {
        Err(format!(
            "{plain} has no unit beside a percentage: {EXPECTED}, or with a unit each"
        ))
    })
}

/// A moment, if it says one.
fn moment(text: &str) -> Result<Option<Moment>, String> {
    const UNITS: &str = "must be a number and s (or nothing: seconds), ms, us, ns, t (ticks) or %";
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let value: f64 = number.parse().map_err(|_| UNITS)?;
    let times = match unit {
        "%" if value <= 100.0 => return Ok(Some(Moment::Percent(value))),
        "t" => return Ok(Some(Moment::Ticks(number.parse().map_err(|_| UNITS)?))),
        "" | "s" => 1e9,
        "ms" => 1e6,
        "us" | "µs" => 1e3,
        "ns" => 1.0,
        _ => return Err(UNITS.into()),
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    Ok(Some(Moment::Nanoseconds((value * times).round() as u64)))
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(text: &str, clock: Clock) -> Result<Range<u64>, String> {
        text.parse::<TimeWindow>()?.ticks(clock, 999)
    }

    #[test]
    fn times_are_ticks_since_sampling_began() {
        for (text, expected) in [
            ("1.5us,2us", 1500..2000),
            ("0.000001,", 1000..u64::MAX),
            (",3ms", 0..3_000_000),
            ("10%-20%", 100..200),
            ("50%,", 500..u64::MAX),
            ("0-20%", 0..200),
            ("10%,500ns", 100..500),
            ("7t,9t", 7..9),
            ("1ns,1us", 1..1000),
        ] {
            assert_eq!(ticks(text, Clock::Time), Ok(expected), "{text}");
        }
        for text in ["5s,", "0.1,0.2", "10%-20%", "99999999999999999999999s,"] {
            let window: TimeWindow = text.parse().unwrap();
            assert_eq!(window.to_string(), text, "as it was said");
        }
        assert_eq!(ticks("0%-100%", Clock::Ticks), Ok(0..1000), "all samples");
        assert_eq!(ticks("5ns,6ns", Clock::Instructions), Ok(5..6));
    }

    #[test]
    fn what_is_no_window_is_said() {
        for (text, says) in [
            ("1s", "FROM,TO"),
            (",", "FROM,TO"),
            ("1h,2h", "must be a number and"),
            ("1.5t,2t", "must be a number and"),
            ("1..2s,", "must be a number and"),
            ("10%,110%", "must be a number and"),
            (
                "10%-20",
                "20 has no unit beside a percentage: must be FROM,TO such as 1.2s,1.4s or 10%-20%",
            ),
            ("1.5, 20%", "1.5 has no unit beside a percentage"),
            ("2s,1s", "there is nothing between the two"),
            ("7t,7t", "there is nothing between the two"),
            (
                "90%,1ns",
                "--time 90%,1ns: there is nothing between the two",
            ),
        ] {
            let said = ticks(text, Clock::Time).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
        let said = ticks("1s,2s", Clock::Ticks).unwrap_err();
        assert!(said.contains("how long a tick"), "{said}");
    }
}
