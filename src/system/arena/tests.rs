use super::*;

fn fill(block: *mut u8, size: usize, byte: u8) {
    // SAFETY: the block has that size.
    unsafe { ptr::write_bytes(block, byte, size) }
}

fn holds(block: *mut u8, size: usize, byte: u8) -> bool {
    // SAFETY: the block has that size, and was filled.
    unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|found| *found == byte)
}

#[test]
fn blocks_do_not_overlap_and_keep_their_bytes_when_they_grow() {
    let mut arena = Arena::new();
    let mut blocks: Vec<(*mut u8, usize)> = Vec::new();
    for round in 0..200_usize {
        let size = 1 + round * 37 % 3000;
        let block = arena.allocate(size);
        fill(block, size, round as u8);
        blocks.push((block, size));
    }
    for (round, (block, size)) in blocks.iter_mut().enumerate() {
        assert!(holds(*block, *size, round as u8));
        let new = 1 + (*size * 3) % 4000;
        // SAFETY: the arena returned the block for that size.
        *block = unsafe { arena.resize(*block, *size, new) };
        assert!(holds(*block, new.min(*size), round as u8));
        fill(*block, new, round as u8);
        *size = new;
    }
    for (round, (block, size)) in blocks.into_iter().enumerate() {
        assert!(holds(block, size, round as u8));
        // SAFETY: the arena returned the block for that size, and it is not used any more.
        unsafe { arena.free(block, size) };
    }
}

#[test]
fn a_snapshot_restores_changed_freed_and_moved_blocks() {
    let mut arena = Arena::new();
    let sizes = [10, 100, 1000, 2000, 50_000];
    let blocks = sizes.map(|size| arena.allocate(size));
    let fill_all = |byte| blocks.iter().zip(sizes).for_each(|(block, size)| fill(*block, size, byte));
    fill_all(1);
    assert!(arena.take_snapshot());
    fill_all(2);
    let more = arena.allocate(3000);
    fill(more, 3000, 2);
    assert!(arena.take_snapshot());
    fill_all(3);
    for (block, size) in blocks.iter().zip(sizes).skip(1) {
        // SAFETY: the arena returned the block for that size, and restores it before it is used again.
        unsafe { arena.resize(*block, size, size * 2) };
    }
    for size in [16, 500, 100_000] {
        fill(arena.allocate(size), size, 4);
    }
    let all_hold = |byte| blocks.iter().zip(sizes).all(|(block, size)| holds(*block, size, byte));
    // SAFETY: no state uses these blocks.
    unsafe { arena.restore(2) };
    assert!(all_hold(2) && holds(more, 3000, 2));
    fill_all(5);
    // SAFETY: as above.
    unsafe { arena.restore(1) };
    assert!(all_hold(1));
    arena.trim();
    arena.forget_snapshots();
    assert!(all_hold(1));
    fill_all(6);
    assert!(arena.take_snapshot());
    fill_all(7);
    // SAFETY: as above.
    unsafe { arena.restore(1) };
    assert!(all_hold(6));
}

#[test]
fn snapshots_of_many_small_blocks_are_restored_page_by_page() {
    const SIZE: usize = 1000;
    let mut arena = Arena::new();
    let take = |arena: &mut Arena, count: usize, byte: u8| -> Vec<*mut u8> {
        (0..count).map(|_| arena.allocate(SIZE)).inspect(|block| fill(*block, SIZE, byte)).collect()
    };
    let early = take(&mut arena, 50, 1);
    assert!(arena.take_snapshot());
    for round in 2..5 {
        let late = take(&mut arena, 6000, round);
        assert!(arena.take_snapshot());
        for step in [1, 7, 300] {
            for block in early.iter().chain(&late).step_by(step) {
                fill(*block, SIZE, 9);
                // SAFETY: the arena returned the block for that size, and restores it before it is used again.
                unsafe { arena.free(*block, SIZE) };
            }
            take(&mut arena, 9000, 8);
            // SAFETY: no state uses these blocks.
            unsafe { arena.restore(2) };
            assert!(early.iter().all(|block| holds(*block, SIZE, 1)));
            assert!(late.iter().all(|block| holds(*block, SIZE, round)), "{round}, each {step}th block");
        }
        // SAFETY: as above.
        unsafe { arena.restore(1) };
        assert!(early.iter().all(|block| holds(*block, SIZE, 1)));
    }
    take(&mut arena, 6000, 5);
    assert!(arena.take_snapshot());
}
