//! Room that is zero without being written.

use std::sync::Arc;

/// So many zeros, as the system has them: pages that nobody writes cost nothing.
pub(super) fn zeros(length: usize) -> Arc<[u8]> {
    let zeros = Arc::<[u8]>::new_zeroed_slice(length);
    // SAFETY: all of it is zero, which is a value of a u8.
    unsafe { zeros.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::zeros;

    #[test]
    fn zeros_are_zero() {
        for length in [0, 1, 4097, 1 << 20] {
            assert_eq!(*zeros(length), vec![0; length]);
        }
    }
}
