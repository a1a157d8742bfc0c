//! Names that a profile has in place of its kernel's file.

use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;
use profiler::address::CodeAddress;

use super::callframe::{Caller, Callers, RecordedCaller};
use super::functions::Identity;
use super::programs::Program;
use super::slide::{LinkAddress, Slide};
use super::{Coverage, DebugNames, Frame, FunctionId, Resolved, Symbols};
use crate::profile::names::{Known, NamedCaller, NamedCode, NamedFrom, NamedFunction, Names};

impl Symbols {
    /// What is known of all addresses that were resolved.
    pub(crate) fn record(&self, build_id: String) -> Names {
        let mut code: Vec<_> = self
            .resolved
            .iter()
            .map(|(&address, resolved)| self.named(address, resolved))
            .collect();
        code.sort_unstable_by_key(|it| it.address);
        Names {
            build_id,
            functions: self.functions.named().collect(),
            code,
            programs: self.programs.iter().map(Program::numbered).collect(),
            text: self.slide.text_ranges(),
            slide: self.slide.distance(),
            has_call_frames: !self.callers.is_empty(),
            from: NamedFrom {
                files: self.origins.clone(),
                problems: self.origins.problems.clone(),
            },
        }
    }

    fn named(&self, address: CodeAddress, resolved: &Resolved) -> NamedCode {
        let if_it = |has: bool, bit: u8| if has { bit } else { 0 };
        let mut known = if_it(self.callers.has_frames_at(address), Known::HAS_FRAMES)
            | if_it(self.callers.has_code_at(address), Known::HAS_CODE);
        if let Some(of_kernel) = self.coverage_at(address) {
            known |= Known::IS_KERNELS
                | if_it(of_kernel.is_named, Known::IS_NAMED)
                | if_it(of_kernel.is_covered, Known::IS_COVERED)
                | if_it(of_kernel.has_inlining, Known::HAS_INLINING);
        }
        NamedCode {
            address: address.0,
            functions: resolved.frames.iter().map(|it| it.function.0).collect(),
            caller: self.callers.of(address).into(),
            known,
        }
    }

    /// The functions that a profile has by name.
    pub(crate) fn of_names(names: Names) -> Self {
        let mut symbols = Self::without_elf();
        let ids: Vec<_> = names
            .functions
            .into_iter()
            .map(|it| symbols.intern_named(it))
            .collect();
        let mut callers = HashMap::new();
        for code in names.code {
            let address = CodeAddress(code.address);
            callers.insert(
                address,
                RecordedCaller {
                    caller: code.caller.into(),
                    has_frames: code.known & Known::HAS_FRAMES != 0,
                    has_code: code.known & Known::HAS_CODE != 0,
                },
            );
            symbols
                .covered
                .extend(coverage(&code).map(|it| (address, it)));
            symbols.resolved.insert(address, resolved(&code, &ids));
        }
        symbols.functions.tell_apart();
        symbols.slide = Slide::recorded(names.slide, &names.text);
        symbols.callers = Callers::recorded(callers, symbols.slide.clone(), names.has_call_frames);
        symbols.origins = names.from.files;
        symbols.origins.problems = names.from.problems;
        let programs = names.programs.into_iter();
        symbols.programs = programs
            .map(|(number, name)| Program::named(number, name))
            .collect();
        symbols
    }

    fn intern_named(&mut self, named: NamedFunction) -> FunctionId {
        let identity = Identity {
            name: named.name,
            path: named.path.map(PathBuf::from),
            line: named.line,
            start: named.start.map(LinkAddress),
        };
        self.functions.intern(identity, named.file)
    }
}

fn resolved(code: &NamedCode, ids: &[FunctionId]) -> Resolved {
    let last = code.functions.len() - 1;
    let frame = |(place, &function): (usize, &u32)| Frame {
        function: ids[function as usize],
        inlined: place < last,
    };
    Resolved {
        frames: code.functions.iter().enumerate().map(frame).collect(),
        names: DebugNames::Unknown,
    }
}

fn coverage(code: &NamedCode) -> Option<Coverage> {
    let has = |bit: u8| code.known & bit != 0;
    has(Known::IS_KERNELS).then(|| Coverage {
        is_named: has(Known::IS_NAMED),
        is_covered: has(Known::IS_COVERED),
        has_inlining: has(Known::HAS_INLINING),
    })
}

impl From<Caller> for NamedCaller {
    fn from(caller: Caller) -> Self {
        match caller {
            Caller::InFrame => Self::InFrame,
            // It is 0 or 1.
            Caller::OnTop(index) => Self::OnTop(u8::from(index > 0)),
            Caller::None => Self::None,
            Caller::Pushed(words) => Self::Pushed(words),
            Caller::InRcx => Self::InRcx,
            Caller::OutOfReach => Self::OutOfReach,
            Caller::Unknown => Self::Unknown,
        }
    }
}

impl From<NamedCaller> for Caller {
    fn from(caller: NamedCaller) -> Self {
        match caller {
            NamedCaller::InFrame => Self::InFrame,
            NamedCaller::OnTop(index) => Self::OnTop(usize::from(index > 0)),
            NamedCaller::None => Self::None,
            NamedCaller::Pushed(words) => Self::Pushed(words),
            NamedCaller::InRcx => Self::InRcx,
            NamedCaller::OutOfReach => Self::OutOfReach,
            NamedCaller::Unknown => Self::Unknown,
        }
    }
}

/// What is recorded of callers, by address.
pub(super) type RecordedCallers = Arc<HashMap<CodeAddress, RecordedCaller>>;
