//! The date, from what the PC's clock has in its registers (MC146818 datasheet).

/// The registers that say when it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// Register 0.
    pub seconds: u8,
    /// Register 2.
    pub minutes: u8,
    /// Register 4.
    pub hours: u8,
    /// Register 7.
    pub day: u8,
    /// Register 8.
    pub month: u8,
    /// Register 9.
    pub year: u8,
    /// Register 32h, which PCs have.
    pub century: u8,
    /// Register B: how the others count.
    pub status: u8,
}

/// In the status: numbers are binary, and not decimal digits.
const BINARY: u8 = 1 << 2;
/// In the status: hours count to 23, and not to 12 twice.
const DAY_OF_24_HOURS: u8 = 1 << 1;
/// In the hours, if they count to 12: the second half of the day.
const AFTERNOON: u8 = 1 << 7;

impl Registers {
    /// Seconds since 1970, if the clock runs in UTC. None, if this is no date.
    #[must_use]
    pub fn timestamp(self) -> Option<i64> {
        let number = |register: u8| {
            let (tens, units) = (register >> 4, register & 0xf);
            if self.status & BINARY != 0 {
                Some(i64::from(register))
            } else if tens <= 9 && units <= 9 {
                Some(i64::from(tens * 10 + units))
            } else {
                None
            }
        };
        let hours = if self.status & DAY_OF_24_HOURS != 0 {
            number(self.hours)?
        } else {
            let half = number(self.hours & !AFTERNOON)?;
            let after = if self.hours & AFTERNOON != 0 { 12 } else { 0 };
            (1..=12).contains(&half).then_some(half % 12 + after)?
        };
        let (month, day) = (number(self.month)?, number(self.day)?);
        let (minutes, seconds) = (number(self.minutes)?, number(self.seconds)?);
        let year = number(self.century)? * 100 + number(self.year)?;
        let is_date = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (1970..=9999).contains(&year)
            && hours < 24
            && minutes < 60
            && seconds < 60;
        let time = (hours * 60 + minutes) * 60 + seconds;
        is_date.then_some(days(year, month, day) * 86_400 + time)
    }
}

/// Days since the first of January 1970. Years begin in March here, so that the day of a
/// leap year is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719468 days from the first of March of the year 0.
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(date: [u8; 7], status: u8) -> Registers {
        let [century, year, month, day, hours, minutes, seconds] = date;
        Registers {
            seconds,
            minutes,
            hours,
            day,
            month,
            year,
            century,
            status,
        }
    }

    #[test]
    fn dates_are_counted() {
        for (date, timestamp) in [
            ([0x19, 0x70, 1, 1, 0, 0, 0], 0),
            ([0x20, 0x00, 2, 0x29, 0x23, 0x59, 0x59], 951_868_799),
            ([0x20, 0x00, 3, 1, 0, 0, 0], 951_868_800),
            ([0x20, 0x26, 0x11, 0x28, 0x22, 0x02, 0x28], 1_795_903_348),
            ([0x21, 0x00, 3, 1, 0, 0, 0], 4_107_542_400),
        ] {
            let found = digits(date, DAY_OF_24_HOURS).timestamp();
            assert_eq!(found, Some(timestamp), "{date:x?}");
        }
        let binary = digits([20, 26, 11, 28, 22, 2, 28], DAY_OF_24_HOURS | BINARY);
        assert_eq!(binary.timestamp(), Some(1_795_903_348));
    }

    #[test]
    fn twelve_hours_are_counted_twice() {
        for (hours, seconds) in [
            (0x12, 0),
            (0x01, 3600),
            (0x11, 11 * 3600),
            (0x92, 12 * 3600),
            (0x91, 23 * 3600),
        ] {
            let date = digits([0x19, 0x70, 1, 1, hours, 0, 0], 0);
            assert_eq!(date.timestamp(), Some(seconds), "{hours:#x}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for date in [
            [0x20, 0x26, 0, 1, 0, 0, 0],
            [0x20, 0x26, 0x13, 1, 0, 0, 0],
            [0x20, 0x26, 1, 0x32, 0, 0, 0],
            [0x20, 0x26, 1, 1, 0x24, 0, 0],
            [0x20, 0x26, 1, 1, 0, 0x60, 0],
            [0x20, 0x2a, 1, 1, 0, 0, 0],
            [0xff; 7],
            [0; 7],
        ] {
            let found = digits(date, DAY_OF_24_HOURS).timestamp();
            assert_eq!(found, None, "{date:x?}");
        }
    }
}
