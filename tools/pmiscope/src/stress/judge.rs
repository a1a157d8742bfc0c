//! Whether a boot has ended as is expected of it.

use serde_json::Value;

use super::expected::{Expected, Refusal, Sampled};

/// What a `pmiscope run --format json` has left.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Its exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Its messages.
    pub said: String,
    /// Its report.
    pub report: String,
}

/// What it is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All cores were sampled that were started.
    Sampled { cores: u64, samples: u64 },
    /// It was refused as it had to be.
    Refused(Refusal),
    /// Neither: what is wrong.
    Failed(String),
}

/// Warnings of a report that say something of the workload or the host, not of the boot.
const KNOWN_WARNINGS: [&str; 1] = ["of the samples are at one instruction of their core"];

impl Remains {
    /// Compares a boot with what is expected of it.
    #[must_use]
    pub fn judge(&self, expected: &Expected) -> Verdict {
        let Some(status) = self.status else {
            return Verdict::Failed("a signal ended pmiscope".into());
        };
        if status == 0 {
            return match &expected.profile {
                None => Verdict::Failed("it has sampled, and was to be refused".into()),
                Some(profile) => self.judge_report(profile),
            };
        }
        let mut refusals = expected.refusals.iter();
        let found =
            refusals.find(|refusal| refusal.status == status && self.said.contains(refusal.says));
        match found {
            Some(refusal) => Verdict::Refused(*refusal),
            None => Verdict::Failed(format!("exit status {status}: {}", self.first_line())),
        }
    }

    fn judge_report(&self, expected: &Sampled) -> Verdict {
        let report: Value = match serde_json::from_str(&self.report) {
            Ok(report) => report,
            Err(error) => return Verdict::Failed(format!("its report is no JSON: {error}")),
        };
        match wrong(&report, expected) {
            Some(problem) => Verdict::Failed(problem),
            None => Verdict::Sampled {
                cores: report["cores"].as_array().map_or(0, Vec::len) as u64,
                samples: number(&report["samples"]),
            },
        }
    }

    fn first_line(&self) -> &str {
        self.said.lines().next().unwrap_or("without a word")
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// What is wrong with a report, if anything is.
fn wrong(report: &Value, expected: &Sampled) -> Option<String> {
    let empty = Vec::new();
    let list = |key: &str| report[key].as_array().unwrap_or(&empty);
    let cores = list("cores");
    if let Some(problem) = wrong_number(cores.len(), report, expected) {
        return Some(problem);
    }
    if let Some(core) = cores.iter().find(|core| number(&core["samples"]) == 0) {
        return Some(format!("core {} has no samples", core["id"]));
    }
    let samples = number(&report["samples"]);
    match expected.samples {
        Some(wanted) if wanted != samples => {
            return Some(format!("{samples} samples, of {wanted}"));
        }
        _ => {}
    }
    if let Some(source) = expected.source
        && report["source"] != source.name()
    {
        return Some(format!("sampled by {}, not by {source}", report["source"]));
    }
    if report["lost"] != 0 {
        return Some(format!("{} samples lost", report["lost"]));
    }
    // What is missing is not nothing.
    let unclaimed = report["unclaimed"].as_u64().unwrap_or(u64::MAX);
    if unclaimed > expected.unclaimed {
        let allowed = expected.unclaimed;
        return Some(format!(
            "{} interrupts unclaimed, where at most {allowed} may be",
            report["unclaimed"]
        ));
    }
    let warnings = list("warnings").iter().filter_map(Value::as_str);
    let mut unknown =
        warnings.filter(|warning| !KNOWN_WARNINGS.iter().any(|known| warning.contains(known)));
    unknown
        .next()
        .map(|warning| format!("a warning: {warning}"))
}

/// What is wrong with the number of cores. Fewer than the machine has are right where a boot loader
/// may go on without one, and the report says that there are fewer.
fn wrong_number(found: usize, report: &Value, expected: &Sampled) -> Option<String> {
    let (least, wanted) = (expected.least_cores as usize, expected.cores as usize);
    let says = format!("it has sampled {found} of {wanted} cores");
    let note = report["note"].as_str().unwrap_or_default();
    let is_right = found == wanted || ((least..wanted).contains(&found) && note.contains(&says));
    (!is_right).then(|| format!("{found} cores in the report, of {wanted}"))
}

#[cfg(test)]
mod tests {
    use profiler::format::Source;
    use serde_json::json;

    use super::*;

    const REFUSAL: Refusal = Refusal {
        status: 5,
        says: "no HPET here",
    };

    fn expected() -> Expected {
        Expected {
            profile: Some(Sampled {
                cores: 2,
                least_cores: 2,
                samples: Some(10),
                source: Some(Source::ApicTimer),
                unclaimed: 1,
            }),
            refusals: vec![REFUSAL],
        }
    }

    fn report() -> Value {
        json!({
            "source": "apic-timer", "samples": 10, "lost": 0, "unclaimed": 1,
            "cores": [{"id": 0, "samples": 6}, {"id": 1, "samples": 4}],
        })
    }

    fn ended(status: i32, said: &str, report: &Value) -> Remains {
        Remains {
            status: Some(status),
            said: said.into(),
            report: report.to_string(),
        }
    }

    #[test]
    fn a_profile_with_all_that_was_asked_for_is_right() {
        let verdict = ended(0, "", &report()).judge(&expected());
        let (cores, samples) = (2, 10);
        assert_eq!(verdict, Verdict::Sampled { cores, samples });
        let mut warned = report();
        warned["warnings"] = json!(["100% of the samples are at one instruction of their core, 0"]);
        assert_eq!(ended(0, "", &warned).judge(&expected()), verdict);
    }

    #[test]
    fn whatever_is_wrong_with_a_profile_is_seen() {
        let two = json!([{"id": 0, "samples": 10}, {"id": 1, "samples": 0}]);
        let one = json!([{"id": 0, "samples": 10}]);
        for (key, value, says) in [
            ("cores", two, "core 1 has no samples"),
            ("cores", one, "1 cores in the report, of 2"),
            ("cores", Value::Null, "0 cores in the report, of 2"),
            ("samples", json!(9), "9 samples, of 10"),
            (
                "source",
                json!("hpet"),
                "sampled by \"hpet\", not by apic-timer",
            ),
            ("lost", json!(1), "1 samples lost"),
            ("lost", Value::Null, "null samples lost"),
            (
                "unclaimed",
                json!(2),
                "2 interrupts unclaimed, where at most 1 may be",
            ),
            ("unclaimed", Value::Null, "null interrupts unclaimed"),
            ("warnings", json!(["no symbols"]), "a warning: no symbols"),
        ] {
            let mut wrong = report();
            wrong[key] = value;
            let verdict = ended(0, "", &wrong).judge(&expected());
            let Verdict::Failed(problem) = &verdict else {
                panic!("{key}: {verdict:?}");
            };
            assert!(problem.contains(says), "{key}: {problem}");
        }
        let none = Remains {
            report: String::new(),
            ..ended(0, "", &Value::Null)
        };
        assert!(matches!(none.judge(&expected()), Verdict::Failed(_)));
    }

    #[test]
    fn fewer_cores_are_right_where_they_may_be_and_the_report_says_so() {
        let mut fewer = report();
        fewer["cores"] = json!([{"id": 0, "samples": 10}]);
        let judge = |report: &Value, least_cores| {
            let mut expected = expected();
            expected.profile.as_mut().unwrap().least_cores = least_cores;
            ended(0, "", report).judge(&expected)
        };
        let failed = Verdict::Failed("1 cores in the report, of 2".into());
        assert_eq!(judge(&fewer, 1), failed, "without a word");
        fewer["note"] = json!("it has sampled 1 of 2 cores");
        let (cores, samples) = (1, 10);
        assert_eq!(judge(&fewer, 1), Verdict::Sampled { cores, samples });
        assert_eq!(judge(&fewer, 2), failed, "all have to be there");
        fewer["cores"] = json!([]);
        fewer["note"] = json!("it has sampled 0 of 2 cores");
        let none = Verdict::Failed("0 cores in the report, of 2".into());
        assert_eq!(judge(&fewer, 1), none);
    }

    #[test]
    fn a_refusal_is_right_by_status_and_words() {
        let none = Value::Null;
        let right = ended(5, "pmiscope: hpet: no HPET here", &none);
        assert_eq!(right.judge(&expected()), Verdict::Refused(REFUSAL));
        for (status, said, says) in [
            (4, "no HPET here", "exit status 4: no HPET here"),
            (5, "no source\nmore", "exit status 5: no source"),
            (6, "", "exit status 6: without a word"),
        ] {
            let verdict = ended(status, said, &none).judge(&expected());
            assert_eq!(verdict, Verdict::Failed(says.into()));
        }
        let killed = Remains {
            status: None,
            ..right
        };
        assert!(matches!(killed.judge(&expected()), Verdict::Failed(_)));
    }

    #[test]
    fn what_had_to_be_refused_may_not_sample() {
        let refused = Expected {
            profile: None,
            ..expected()
        };
        let verdict = ended(0, "", &report()).judge(&refused);
        assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
    }
}
