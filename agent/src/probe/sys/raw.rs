//! Maps whose types this build does not know: bytes, with sizes that the kernel told.

use std::{io, mem::size_of, os::fd::AsFd};

use super::{BPF_MAP_LOOKUP_ELEM, ElementAttr, MappedArray, bpf, fd_number};

const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;

/// `bpf_attr` for walking through keys.
#[repr(C)]
#[derive(Default)]
struct NextKeyAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    next_key: u64,
}

/// A mapped array of elements of a size that is known at run time only.
#[derive(Debug)]
pub(in crate::probe) struct RawArray {
    words: MappedArray<u64>,
    words_each: usize,
}

impl RawArray {
    /// `size` is a multiple of eight, as the kernel makes elements of arrays.
    pub(in crate::probe) fn new(map: impl AsFd, size: usize, len: usize) -> io::Result<Self> {
        let words_each = size / size_of::<u64>();
        Ok(Self { words: MappedArray::new(map.as_fd(), words_each * len)?, words_each })
    }

    /// The bytes of an element that nobody writes to any more.
    pub(in crate::probe) fn element(&self, idx: usize) -> Vec<u8> {
        let first = idx * self.words_each;
        (first..first + self.words_each)
            .flat_map(|at| {
                // SAFETY: a live element, aligned; programs may have written to it before.
                let word = unsafe { std::sync::atomic::AtomicU64::from_ptr(self.words.at(at).as_ptr()) };
                word.load(std::sync::atomic::Ordering::Relaxed).to_ne_bytes()
            })
            .collect()
    }
}

/// Reads every element of a map that nobody writes to. Slower than in batches, and needs to know less.
pub(in crate::probe) fn each(
    map: impl AsFd,
    key_size: usize,
    value_size: usize,
    mut take: impl FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    let map = fd_number(&map);
    let mut key: Option<Vec<u8>> = None;
    loop {
        // Room for what the kernel rounds up to.
        let mut next = vec![0_u8; key_size.next_multiple_of(8)];
        let mut attr = NextKeyAttr {
            map_fd: map,
            _pad: 0,
            key: key.as_ref().map_or(0, |key| key.as_ptr() as u64),
            next_key: next.as_mut_ptr() as u64,
        };
        match bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut value = vec![0_u8; value_size.next_multiple_of(8)];
        let mut attr = ElementAttr {
            map_fd: map,
            key: next.as_ptr() as u64,
            value: value.as_mut_ptr() as u64,
            ..ElementAttr::default()
        };
        bpf(BPF_MAP_LOOKUP_ELEM, &mut attr)?;
        take(&next[..key_size], &value[..value_size]);
        key = Some(next);
    }
}
