//! What `pmiscope doctor` finds: on the host ([`host`]) and in the guest ([`guest`]),
//! each in a sentence, with what to change if it could be better.

pub mod guest;
pub mod host;

use serde::Serialize;

use crate::capabilities::json::Document;
use crate::output::{line_of_log, one_line};
use crate::report::text::{WIDTH, wrap};

/// How good something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It could be better.
    Note,
    /// Sampling is not possible because of it.
    Problem,
}

/// Something that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// Its topic, in a word or two.
    pub topic: String,
    /// How good it is.
    pub verdict: Verdict,
    pub says: String,
    /// What to do to have it better.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(topic: &str, verdict: Verdict, says: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            verdict,
            says: says.into(),
            remedy: None,
        }
    }

    /// Something that is as it should be.
    #[must_use]
    pub fn ok(topic: &str, says: impl Into<String>) -> Self {
        Self::new(topic, Verdict::Ok, says)
    }

    /// Something that could be better.
    #[must_use]
    pub fn note(topic: &str, says: impl Into<String>) -> Self {
        Self::new(topic, Verdict::Note, says)
    }

    /// Something without which sampling is not possible.
    #[must_use]
    pub fn problem(topic: &str, says: impl Into<String>) -> Self {
        Self::new(topic, Verdict::Problem, says)
    }

    /// The same, with what to do.
    #[must_use]
    pub fn with(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// All findings: the keys of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Whether samples can be taken.
    pub possible: bool,
    pub findings: Vec<Finding>,
    /// The end of the guest's log, if it has failed.
    pub log: Vec<String>,
    /// The capabilities that the guest has reported; null if none was started.
    pub survey: Option<Document>,
}

/// Columns of the verdict, and of the topic.
const VERDICT: usize = 9;
const TOPIC: usize = 12;

impl Diagnosis {
    /// A line for each finding, 100 columns, and the conclusion.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let indent = VERDICT + TOPIC;
        for finding in &self.findings {
            let verdict = match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Note => "note",
                Verdict::Problem => "PROBLEM",
            };
            let mut head = format!("{verdict:<VERDICT$}{:<TOPIC$}", finding.topic);
            for line in wrap(&finding.says, WIDTH - indent) {
                text += &format!("{head:<indent$}{line}\n");
                head.clear();
            }
            let remedy = finding.remedy.iter();
            for line in remedy.flat_map(|remedy| wrap(&format!("-> {remedy}"), WIDTH - indent)) {
                text += &format!("{:indent$}{line}\n", "");
            }
        }
        if !self.log.is_empty() {
            text += "\nthe guest's log ends with:\n";
            for line in &self.log {
                text += &format!("  {}\n", line_of_log(line));
            }
        }
        text += "\n";
        text += &one_line(&self.conclusion());
        text += "\n";
        text
    }

    /// Whether samples can be taken, and if not why, in a line.
    #[must_use]
    pub fn conclusion(&self) -> String {
        if self.possible {
            let notes = |finding: &&Finding| finding.verdict == Verdict::Note;
            return match self.findings.iter().filter(notes).count() {
                0 => "sampling is possible".into(),
                _ => "sampling is possible; the notes say what could be better".into(),
            };
        }
        let mut problems = self.findings.iter();
        let first = problems.find(|finding| finding.verdict == Verdict::Problem);
        match first {
            Some(problem) => format!("sampling is not possible: {}", problem.says),
            None => "sampling is not possible".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines_and_the_end_says_what_comes_of_them() {
        let mut diagnosis = Diagnosis {
            possible: true,
            findings: vec![
                Finding::ok("qemu", "QEMU 7.2.22"),
                Finding::note("kvm", "no /dev/kvm").with("load the module kvm_intel or kvm_amd"),
            ],
            log: Vec::new(),
            survey: None,
        };
        let text = diagnosis.text();
        assert_eq!(
            text,
            "ok       qemu        QEMU 7.2.22\n\
             note     kvm         no /dev/kvm\n                     \
             -> load the module kvm_intel or kvm_amd\n\n\
             sampling is possible; the notes say what could be better\n"
        );
        diagnosis.possible = false;
        let problem = Finding::problem("kernel", "no kernel");
        diagnosis.findings.push(problem);
        diagnosis.log = vec!["[ERROR core0] no".into()];
        let text = diagnosis.text();
        assert!(text.contains("PROBLEM  kernel      no kernel\n"), "{text}");
        assert!(text.contains("with:\n  [ERROR core0] no\n"), "{text}");
        let end = "sampling is not possible: no kernel";
        assert_eq!(text.lines().last(), Some(end));
    }
}
