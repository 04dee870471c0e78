//! Whether the allocator has memory left. A small allocation that fails aborts the process; who takes something large
//! asks first, and refuses.

/// Can so many bytes be allocated now? They are given back at once.
pub fn can_allocate(bytes: usize) -> bool {
    let mut block = Vec::<u8>::new();
    let fits = block.try_reserve_exact(bytes).is_ok();
    // Otherwise the compiler may leave out an allocation that nobody uses.
    std::hint::black_box(block.as_ptr());
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_cannot_be_allocated() {
        assert!(can_allocate(1 << 20));
        assert!(!can_allocate(isize::MAX as usize));
        assert!(!can_allocate(usize::MAX));
    }
}
