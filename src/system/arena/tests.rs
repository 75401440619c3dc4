use super::snapshot::end_of_pages;
use super::*;
use crate::system::image::page;

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

#[test]
fn a_class_has_the_least_size_that_fits() {
    for size in 1..=MEDIUM {
        let class = class(size);
        assert!(class_size(class) >= size && class_size(class).is_multiple_of(STEP), "{size}");
        assert!(class == 0 || class_size(class - 1) < size, "{size}");
    }
    assert_eq!((class(MEDIUM), class_size(CLASSES - 1)), (CLASSES - 1, MEDIUM));
}

/// A sequence of numbers that looks random, and is the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }
}

/// A block that the arena has returned, and a copy of its bytes.
#[derive(Clone)]
struct Model {
    block: *mut u8,
    bytes: Vec<u8>,
}

impl Model {
    fn is_right(&self) -> bool {
        // SAFETY: the block has that size, and was filled.
        unsafe { std::slice::from_raw_parts(self.block, self.bytes.len()) == self.bytes }
    }

    fn write(&mut self, numbers: &mut Numbers) {
        let (at, byte) = (numbers.below(self.bytes.len()), numbers.below(256) as u8);
        let length = (1 + numbers.below(300)).min(self.bytes.len() - at);
        self.bytes[at..at + length].fill(byte);
        // SAFETY: the block has that size.
        unsafe { self.block.add(at).write_bytes(byte, length) };
    }
}

/// Allocates, writes, resizes and frees blocks at random.
fn use_blocks(arena: &mut Arena, models: &mut Vec<Model>, numbers: &mut Numbers, steps: usize) {
    let any_size = |numbers: &mut Numbers| {
        let power = if numbers.below(40) == 0 { 19 } else { 3 + numbers.below(11) };
        1 + numbers.below(1 << power)
    };
    for _ in 0..steps {
        let size = any_size(numbers);
        let at = numbers.below(models.len().max(1));
        match numbers.below(if models.is_empty() { 1 } else { 10 }) {
            0..=3 => {
                let (block, byte) = (arena.allocate(size), numbers.below(256) as u8);
                fill(block, size, byte);
                models.push(Model { block, bytes: vec![byte; size] });
            }
            4..=6 => models[at].write(numbers),
            7 => {
                let model = &mut models[at];
                let old = model.bytes.len();
                // SAFETY: the arena returned the block for that size.
                model.block = unsafe { arena.resize(model.block, old, size) };
                model.bytes.resize(size, 5);
                // SAFETY: the block has that size now.
                unsafe { model.block.add(old.min(size)).write_bytes(5, size.saturating_sub(old)) };
            }
            _ => {
                let Model { block, bytes } = models.swap_remove(at);
                // SAFETY: the arena returned the block for that size, and it is not used any more.
                unsafe { arena.free(block, bytes.len()) };
            }
        }
    }
}

#[test]
fn random_blocks_are_restored_at_each_level() {
    for seed in 0..3 {
        let mut numbers = Numbers(seed);
        let mut arena = Arena::new();
        let mut kept: Vec<Vec<Model>> = Vec::new();
        let mut models = Vec::new();
        for round in 0..60 {
            let steps = [3, 30, 1000][numbers.below(3)];
            use_blocks(&mut arena, &mut models, &mut numbers, steps);
            assert!(models.iter().all(Model::is_right), "seed {seed}, round {round}: before");
            match numbers.below(6) {
                0 | 1 if kept.len() < 4 => {
                    assert!(arena.take_snapshot());
                    kept.push(models.clone());
                }
                2 if numbers.below(4) == 0 => {
                    arena.forget_snapshots();
                    arena.trim();
                    kept.clear();
                }
                _ if !kept.is_empty() => {
                    let level =
                        if numbers.below(4) == 0 { 1 + numbers.below(kept.len()) } else { kept.len() };
                    // SAFETY: no state uses these blocks.
                    unsafe { arena.restore(level) };
                    kept.truncate(level);
                    models.clone_from(&kept[level - 1]);
                }
                _ => {}
            }
            assert!(models.iter().all(Model::is_right), "seed {seed}, round {round}: after");
        }
    }
}

/// Pages have 4 KiB on x86, and 4, 16 or 64 KiB on 64-bit Arm.
#[test]
fn an_image_has_whole_pages_of_any_size_and_none_beyond_its_block() {
    for page in [4 << 10, 16 << 10, 64 << 10] {
        for length in [MEDIUM + 1, 300_000, 5 * page - 1, 5 * page, 5 * page + 1, LARGEST_REGION] {
            let (of_region, of_block) = (end_of_pages(length, true, page), end_of_pages(length, false, page));
            assert!(of_region.is_multiple_of(page) && of_block.is_multiple_of(page));
            assert!((length.saturating_sub(page - 1)..=length).contains(&of_region), "{length}, {page}");
            // The system maps whole pages for a block.
            assert!((length..length + page).contains(&of_block), "{length}, {page}");
        }
    }
}

#[test]
fn only_written_pages_of_a_large_snapshot_are_copied() {
    if Written::open().is_none() {
        eprintln!("skipped: this system does not tell which pages were written");
        return;
    }
    let mut arena = Arena::new();
    let sizes = [16, 60, 1000, 5000, 70_000, 400_000];
    let mut blocks: Vec<(*mut u8, usize)> = Vec::new();
    for size in (0..2000).map(|n| sizes[n % if n % 100 == 0 { 6 } else { 4 }]) {
        blocks.push((arena.allocate(size), size));
        fill(blocks[blocks.len() - 1].0, size, 1);
    }
    assert!(arena.take_snapshot());
    let copied = |arena: &Arena| arena.snapshots.last().map(Snapshot::copied);
    assert!(copied(&arena) <= Some(FIRST_REGION + 2 * page() + 8 * 65_536 / 16), "{:?}", copied(&arena));
    // The next snapshot has what was written in between, and what was added.
    for (block, size) in blocks.iter().step_by(400) {
        fill(*block, *size, 2);
    }
    let more = arena.allocate(1000);
    assert!(blocks.iter().all(|(block, size)| more.addr().wrapping_sub(block.addr()) >= *size));
    assert!(arena.take_snapshot());
    for _ in 0..3 {
        blocks.iter().for_each(|(block, size)| fill(*block, *size, 3));
        // SAFETY: no state uses these blocks.
        unsafe { arena.restore(2) };
        for (n, (block, size)) in blocks.iter().enumerate() {
            assert!(holds(*block, *size, if n % 400 == 0 { 2 } else { 1 }), "block {n}");
        }
    }
}
