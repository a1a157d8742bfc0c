//! What the kernel was asked for, against what it says that it took.

use std::fmt;

use profiler::contract::settings::{Aim, Keep, RunKind, Settings, SourceChoice};
use profiler::format::{AimDescription, Description, EventDescription};
use profiler::pmu::event::EventList;

use super::counts::Counts;
use crate::profile::Asked;

/// An option that the kernel did not take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The word of the kernel's command line, which is the option's name as well.
    pub key: &'static str,
    pub asked: String,
    pub taken: String,
    /// False if it is a default of the tool, which a kernel need not take.
    pub is_by_user: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, asked, taken, ..
        } = self;
        if *key == TAKE {
            return write!(
                f,
                "the kernel was asked for {asked} and took {taken}: see that it hands its command line to the sampler"
            );
        }
        write!(
            f,
            "the kernel did not take --{key} {asked}, it took {taken}: see that it hands its command line to the sampler, or leave the option out"
        )
    }
}

/// The word that says whether samples are taken or events counted.
const TAKE: &str = "take";

/// The tool's defaults that are of interest where a kernel has others. (A workload is none:
/// few kernels have a choice of them.)
const DEFAULTS: [&str; 3] = ["delivery", "period", "samples"];

/// A word of the command line, and what the kernel says of it.
struct Row {
    key: &'static str,
    /// `None`: nothing in particular.
    asked: Option<String>,
    taken: String,
}

/// What the kernel did not take of what it was asked for.
#[must_use]
pub fn differences(run: &Description, asked: &Asked) -> Vec<Difference> {
    // What stands on a disc is not known here.
    let Some(settings) = Settings::parse(&asked.words)
        .ok()
        .filter(|_| !asked.words.is_empty())
    else {
        return Vec::new();
    };
    let is_counting = Counts::are_in(run);
    if (settings.kind == RunKind::Counts) != is_counting {
        let [asked, taken] = if is_counting {
            ["samples", "counts"]
        } else {
            ["counts", "samples"]
        };
        return vec![Difference {
            key: TAKE,
            asked: asked.into(),
            taken: taken.into(),
            is_by_user: true,
        }];
    }
    let rows = if is_counting {
        of_any_run(run, &settings)
    } else {
        let mut rows = of_samples(run, &settings);
        rows.extend(of_any_run(run, &settings));
        rows
    };
    let differ = |row: Row| {
        let by_user = asked.by_user.iter().any(|key| key == row.key);
        let is_of_interest = by_user || DEFAULTS.contains(&row.key);
        let asked = row.asked.filter(|asked| *asked != row.taken)?;
        is_of_interest.then_some(Difference {
            key: row.key,
            asked,
            taken: row.taken,
            is_by_user: by_user,
        })
    };
    rows.into_iter().filter_map(differ).collect()
}

fn of_samples(run: &Description, settings: &Settings<'_>) -> Vec<Row> {
    let row = |key, asked, taken| Row { key, asked, taken };
    let source = match settings.source {
        SourceChoice::Auto => None,
        SourceChoice::Only(source) => Some(source.name().into()),
    };
    vec![
        row("source", source, run.source.name().into()),
        row(
            "delivery",
            Some(settings.delivery.name().into()),
            run.delivery.name().into(),
        ),
        row(
            "period",
            settings.period.map(|period| period.to_string()),
            period(run, settings).to_string(),
        ),
        row(
            "jitter",
            Some(settings.jitter.to_string()),
            run.jitter.to_string(),
        ),
        row(
            "seed",
            Some(settings.seed.to_string()),
            run.seed.to_string(),
        ),
        row(
            "samples",
            Some(settings.samples.to_string()),
            run.samples.to_string(),
        ),
        row(
            "keep",
            Some(settings.keep.name().into()),
            match run.table_bytes {
                0 => Keep::Samples,
                _ => Keep::Chains,
            }
            .name()
            .into(),
        ),
        row("aim", settings.aim.map(|aim| aim.to_string()), aim(run.aim)),
    ]
}

fn of_any_run(run: &Description, settings: &Settings<'_>) -> Vec<Row> {
    let workload = run.workload.as_str();
    let none = "none: it has no choice of them";
    vec![
        Row {
            key: "event",
            asked: settings.events.as_ref().map(names),
            taken: match run.events() {
                [] => "none".into(),
                events => joined(events.iter().map(|event| event.name.as_str().to_owned())),
            },
        },
        Row {
            key: "workload",
            asked: Some(settings.workload.into()),
            taken: if workload.is_empty() { none } else { workload }.into(),
        },
    ]
}

/// The period that was asked of the kernel, by its own account: that of the events which
/// have none of their own, if there are events.
fn period(run: &Description, settings: &Settings<'_>) -> u64 {
    let is_asked = |event: &EventDescription| settings.period == Some(event.requested_period);
    match run.events() {
        [] => run.period,
        events => events
            .iter()
            .find(|&event| is_asked(event))
            .map_or(run.period, |event| event.requested_period),
    }
}

fn aim(aim: AimDescription) -> String {
    let AimDescription {
        address,
        first,
        end,
    } = aim;
    if aim.end == 0 {
        return "none".into();
    }
    Aim {
        address,
        first,
        end,
    }
    .to_string()
}

fn names(events: &EventList) -> String {
    joined(events.iter().map(|event| event.counted().to_string()))
}

fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::address::{CodeAddress, CodeRange};
    use profiler::format::{Clock, Delivery, Source, Text};

    const WORDS: &str = "source=auto delivery=nmi period=1000 workload=mix samples=500 ring=65536";

    /// What a kernel that takes [`WORDS`] says.
    fn run() -> Description {
        let text = CodeRange {
            start: CodeAddress(0),
            end: CodeAddress(1),
        };
        Description {
            clock: Clock::Instructions,
            turns: true,
            period: 1000,
            period_floor: 1,
            samples: 500,
            ..Description::new([1; 20], text, 1, 8192)
        }
    }

    fn with_events(names: &[&str]) -> Description {
        let mut run = Description {
            source: Source::Pmu,
            event_count: u8::try_from(names.len()).unwrap(),
            ..run()
        };
        for (row, name) in run.event_table.iter_mut().zip(names) {
            row.name = Text::new(name);
            row.requested_period = 1000;
        }
        run
    }

    /// The differences between `run` and these words: key, asked, taken, by the user.
    fn found(run: &Description, words: &str, by_user: &str) -> Vec<(String, String, String, bool)> {
        let asked = Asked {
            words: words.into(),
            by_user: by_user.split_whitespace().map(str::to_owned).collect(),
            cores: 0,
        };
        let all = differences(run, &asked).into_iter();
        all.map(|it| (it.key.into(), it.asked, it.taken, it.is_by_user))
            .collect()
    }

    #[test]
    fn a_kernel_that_takes_all_differs_in_nothing() {
        assert_eq!(found(&run(), WORDS, "delivery period samples"), []);
        assert_eq!(found(&run(), "", "period"), [], "a disc");
        let words = "source=pmu event=cycles:k,slots period=1000 jitter=5 seed=7 samples=500";
        let counters = Description {
            jitter: 5,
            seed: 7,
            ..with_events(&["cycles:k", "slots"])
        };
        assert_eq!(
            found(&counters, words, "source event period jitter seed"),
            []
        );
        let aim = Aim::parse("0xffffffff80001000:0..20").unwrap();
        let aimed = Description {
            aim: aim.into(),
            ..run()
        };
        assert_eq!(found(&aimed, &format!("{WORDS} aim={aim}"), "aim"), []);
    }

    #[test]
    fn each_option_that_is_not_taken_is_found() {
        for (words, key, asked, taken) in [
            ("source=hpet", "source", "hpet", "apic-timer"),
            ("delivery=irq", "delivery", "irq", "nmi"),
            ("period=77", "period", "77", "1000"),
            ("event=cycles:k,slots", "event", "cycles:k,slots", "none"),
            ("jitter=5", "jitter", "5", "0"),
            ("seed=9", "seed", "9", "0"),
            ("samples=9", "samples", "9", "500"),
            (
                "workload=heap",
                "workload",
                "heap",
                "none: it has no choice of them",
            ),
            (
                "aim=0xffffffff80001000:0..20",
                "aim",
                "0xffffffff80001000:0..20",
                "none",
            ),
        ] {
            let words =
                format!("{words} samples=500").replace("samples=9 samples=500", "samples=9");
            let expected = (key.to_owned(), asked.to_owned(), taken.to_owned(), true);
            assert_eq!(found(&run(), &words, key), [expected], "{words}");
        }
        let one = with_events(&["cycles"]);
        let expected = ("event", "cycles,slots", "cycles");
        let [(key, asked, taken, _)] = &found(&one, "event=cycles,slots samples=500", "event")[..]
        else {
            panic!("one difference");
        };
        assert_eq!((&**key, &**asked, &**taken), expected);
    }

    #[test]
    fn defaults_are_told_from_what_the_user_asked_for() {
        let own = Description {
            period: 77,
            samples: 9,
            delivery: Delivery::Irq,
            ..run()
        };
        let keys: Vec<_> = found(&own, WORDS, "period")
            .into_iter()
            .map(|(key, .., by_user)| (key, by_user))
            .collect();
        let expected = [("delivery", false), ("period", true), ("samples", false)];
        assert_eq!(
            keys,
            expected.map(|(key, by_user)| (key.to_owned(), by_user))
        );
    }

    #[test]
    fn samples_in_place_of_counts_are_the_only_difference() {
        let words = "take=counts event=slots units=9 samples=1";
        let expected = ("take".into(), "counts".into(), "samples".into(), true);
        assert_eq!(found(&run(), words, "event"), [expected]);
        let counts = Description {
            samples: 0,
            ..with_events(&["slots"])
        };
        assert_eq!(found(&counts, words, "event"), []);
        let expected = ("take".into(), "samples".into(), "counts".into(), true);
        assert_eq!(found(&counts, WORDS, "period"), [expected]);
    }

    #[test]
    fn a_difference_is_one_line_that_says_what_to_do() {
        let Description { period, .. } = run();
        let asked = Asked {
            words: "period=100000 samples=500".into(),
            by_user: vec!["period".into()],
            cores: 0,
        };
        let [difference] = &differences(&run(), &asked)[..] else {
            panic!("one difference");
        };
        assert_eq!(
            difference.to_string(),
            format!(
                "the kernel did not take --period 100000, it took {period}: see that it hands its command line to the sampler, or leave the option out"
            )
        );
    }
}
