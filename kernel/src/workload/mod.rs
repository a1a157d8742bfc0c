//! What there is to profile.

mod arithmetic;

use profiler::format::Text;

use crate::sampling;

/// Something to profile.
pub struct Workload {
    /// What the command line calls it.
    pub name: &'static str,
    unit: fn(),
}

/// All but `mix`.
pub static ALL: &[Workload] = &[Workload {
    name: "arithmetic",
    unit: arithmetic::unit,
}];
static MIX: Workload = Workload {
    name: "mix",
    unit: arithmetic::unit,
};

/// The workload with this name.
pub fn find(name: &str) -> Option<&'static Workload> {
    core::iter::once(&MIX)
        .chain(ALL)
        .find(|workload| workload.name == name)
}

/// All names.
pub fn names() -> Text<256> {
    Text::new("mix")
}

/// Runs it for ever.
pub fn run(workload: &'static Workload) -> ! {
    loop {
        sampling::set_task(1);
        (workload.unit)();
    }
}
