//! How numbers are written for people, and read from them.

use std::fmt::Write as _;

use profiler::format::ClockReference;

/// `bytes` in lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `number` with a comma between groups of three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `number` of `noun`s: "1 sample", "2 samples".
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = match number {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {noun}{plural}", grouped(number))
}

/// The sum of `numbers`; the most that there is where it is more, as it may be of a damaged
/// file.
pub fn total(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

/// `part` of `whole` in percent.
#[must_use]
#[allow(clippy::cast_precision_loss)] // shown with two digits
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}

/// The same as text, with a digit behind the point. Nothing but all of it is `100.0%`.
#[must_use]
pub fn percent_text(part: u64, whole: u64) -> String {
    let most = if part < whole { 99.9 } else { 100.0 };
    format!("{:.1}%", percent(part, whole).min(most))
}

/// A time in the largest unit that keeps it short, with three digits.
#[must_use]
#[allow(clippy::cast_precision_loss)] // shown with three digits
pub fn duration(nanoseconds: u64) -> String {
    const UNITS: [&str; 4] = ["ns", "µs", "ms", "s"];
    let mut value = nanoseconds as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A number of bytes in the largest binary unit that keeps it short.
#[must_use]
#[allow(clippy::cast_precision_loss)] // shown with one digit
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value.fract() > 0.05 && value < 100.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// What says how long a tick takes, and to within what; `None` where nothing does.
#[must_use]
pub fn reference(reference: ClockReference, within: u32) -> Option<String> {
    let by = match reference {
        ClockReference::None => return None,
        ClockReference::Hypervisor => "as the hypervisor says (CPUID 40000010h)",
        ClockReference::HyperV => "as Hyper-V says (its MSR)",
        ClockReference::Crystal => "as CPUID says (15h, a crystal times a ratio)",
        ClockReference::Hpet => "measured by the HPET",
        ClockReference::PmTimer => "measured by the ACPI PM timer",
        ClockReference::Pit => "measured by the PIT",
        ClockReference::NominalCrystal => "as CPUID says (15h), which a hypervisor may make wrong",
        ClockReference::Base => "as CPUID says (16h), nominal",
    };
    Some(match within {
        0 => by.to_owned(),
        parts => format!("{by}, to within {} ppm", grouped(parts.into())),
    })
}

/// Reads a number of bytes such as `512K`, `64M` or `2G` (binary units).
///
/// # Errors
///
/// A message that says what is wrong.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a number and a unit, such as 512K, 64M or 2G";
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or(EXPECTED)?;
    let shift = match unit {
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(EXPECTED.into()),
    };
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    number
        .checked_mul(1 << shift)
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "no size that a machine can have".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let groups = [0, 12, 999, 1000, 25_000, 1_234_567].map(grouped);
        assert_eq!(groups, ["0", "12", "999", "1,000", "25,000", "1,234,567"]);
        assert_eq!(counted(1, "sample"), "1 sample");
        assert_eq!(counted(2000, "sample"), "2,000 samples");
        assert_eq!(counted(290, "address"), "290 addresses");
    }

    #[test]
    fn only_all_of_it_is_a_hundred_percent() {
        for (part, whole, expected) in [
            (0, 0, "0.0%"),
            (1, 3, "33.3%"),
            (9_989, 10_000, "99.9%"),
            (9_996, 10_000, "99.9%"),
            (u64::MAX - 1, u64::MAX, "99.9%"),
            (7, 7, "100.0%"),
        ] {
            assert_eq!(percent_text(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("2g"), Ok(2 << 30));
        for bad in ["", "M", "64", "0M", "-1M", "1.5G", "99999999999T", "6é"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(size(100), "100 bytes");
        assert_eq!(size(8 << 20), "8 MiB");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(1 << 60), "1024 PiB");
    }

    #[test]
    fn times_have_three_digits() {
        let times = [
            0,
            999,
            1000,
            12_345,
            999_600,
            31_870_687,
            9_037_264_190,
            3_600_000_000_000,
        ];
        assert_eq!(
            times.map(duration),
            [
                "0 ns", "999 ns", "1.00 µs", "12.3 µs", "1.00 ms", "31.9 ms", "9.04 s", "3600 s"
            ]
        );
    }

    #[test]
    fn a_clock_is_known_to_within_what_was_measured() {
        let says = |by, within| reference(by, within).unwrap_or_default();
        assert_eq!(says(ClockReference::None, 0), "");
        let measured = says(ClockReference::PmTimer, 1200);
        assert_eq!(
            measured,
            "measured by the ACPI PM timer, to within 1,200 ppm"
        );
        assert_eq!(says(ClockReference::HyperV, 0), "as Hyper-V says (its MSR)");
    }

    #[test]
    fn shares_of_nothing_are_nothing() {
        assert!(percent(1, 0) == 0.0);
        assert!((percent(1, 4) - 25.0).abs() < 1e-9);
    }
}
