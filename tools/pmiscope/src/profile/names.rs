//! The names of all code that a profile has, in place of the kernel's file: so it can go where that is
//! not to go, and a profile can be made of what has no such file.

use serde::{Deserialize, Serialize};

use crate::symbols::{Origins, Problems};

/// Names by address, as the chunk *names* has them, in JSON.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Names {
    /// That of the kernel, 40 digits: names of another one are not taken.
    pub build_id: String,
    /// The functions, each once.
    pub functions: Vec<NamedFunction>,
    /// The code, in the order of its addresses.
    pub code: Vec<NamedCode>,
    /// The user's programs by their numbers.
    pub programs: Vec<(u16, String)>,
    /// What the file maps as executable, at the addresses that it is linked for.
    pub text: Vec<(u64, u64)>,
    /// How far that was moved, if that is known.
    pub slide: Option<u64>,
    /// Whether the file has call-frame information.
    pub has_call_frames: bool,
    /// From which files the names are.
    pub from: NamedFrom,
}

/// From which files names are, and what those lack.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NamedFrom {
    pub files: Origins,
    pub problems: Problems,
}

/// A function.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NamedFunction {
    pub name: String,
    /// Where it is declared: with all folders, and as it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Where it starts, if only that tells it from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
}

/// The code at an address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct NamedCode {
    pub address: u64,
    /// The places of its functions, innermost first, each inlined into the next.
    pub functions: Vec<u32>,
    /// Where it keeps its return address; a kind, and the number that belongs to it.
    pub caller: NamedCaller,
    /// What files say of it: see [`Known`].
    pub known: u8,
}

/// What files say of code, as bits.
pub(crate) struct Known;

impl Known {
    /// Call-frame information covers it.
    pub(crate) const HAS_FRAMES: u8 = 1 << 0;
    /// It is a file's.
    pub(crate) const HAS_CODE: u8 = 1 << 1;
    /// Symbols or debug information name it.
    pub(crate) const IS_NAMED: u8 = 1 << 2;
    /// The symbol that names it covers it.
    pub(crate) const IS_COVERED: u8 = 1 << 3;
    /// It is known what was inlined there.
    pub(crate) const HAS_INLINING: u8 = 1 << 4;
    /// The four above are of the kernel's code.
    pub(crate) const IS_KERNELS: u8 = 1 << 5;
    /// All of them.
    pub(crate) const ALL: u8 = 0b11_1111;
}

/// `Caller`, in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum NamedCaller {
    #[serde(rename = "f")]
    InFrame,
    #[serde(rename = "t")]
    OnTop(u8),
    #[serde(rename = "n")]
    None,
    #[serde(rename = "p")]
    Pushed(u64),
    #[serde(rename = "c")]
    InRcx,
    #[serde(rename = "o")]
    OutOfReach,
    #[serde(rename = "u")]
    Unknown,
}

impl Names {
    /// Returns true if all that refers to something is right: what is read may be anybody's.
    pub(super) fn is_valid(&self) -> bool {
        let functions = self.functions.len();
        let has_functions = |code: &NamedCode| {
            let mut places = code.functions.iter();
            !code.functions.is_empty() && places.all(|&place| (place as usize) < functions)
        };
        let is_sorted = self
            .code
            .is_sorted_by(|one, next| one.address < next.address);
        is_sorted && self.code.iter().all(has_functions)
    }
}
