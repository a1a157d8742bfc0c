/// The number of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pid(pub u32);

impl Pid {
    /// In place of a parent: the kernel.
    pub(super) const KERNEL: Self = Self(0);
}
