//! Which NUMA node memory comes from.
//!
//! By itself the kernel takes a page from the node of whoever touches it first, so a thread that is pinned before it fills its
//! buffers needs nothing of this. It is for one that is not pinned, or whose buffers somebody else fills. A node is preferred, never
//! insisted on: where it is full, memory comes from another. What fails changes nothing.
#![expect(unsafe_code, reason = "set_mempolicy and mbind, which no library has")]

use core::ffi::{c_int, c_ulong, c_void};
use core::ptr::null;

use rustix::io::Errno;
use rustix::param::page_size;
use wg_sched::NodeId;

use crate::Error;
use crate::sockopt::last_errno;

/// The most nodes that a kernel can be built for.
const MAX_NODES: usize = 1024;
const WORD: usize = c_ulong::BITS as usize;
/// How long a mask is, as the kernel counts: one more than the bits it reads.
const MASK_BITS: c_ulong = MAX_NODES as c_ulong + 1;

/// A set of nodes.
type Mask = [c_ulong; MAX_NODES / WORD];

/// Has what the calling thread, and those it will make, touch first from now on come from `node`.
///
/// # Errors
///
/// There is no such node, or it is not for this process (EINVAL); the system forbids it (EPERM), or has no nodes (ENOSYS).
pub fn prefer(node: NodeId) -> Result<(), Error> {
    let error = Error::during("prefer the memory of a node");
    let mask = mask(node).map_err(&error)?;
    set(libc::MPOL_PREFERRED, Some(&mask)).map_err(error)
}

/// Has it come from wherever the thread runs, as it is by itself.
///
/// # Errors
///
/// As [`prefer`].
pub fn prefer_local() -> Result<(), Error> {
    set(libc::MPOL_DEFAULT, None).map_err(Error::during("prefer the memory of the own node"))
}

/// Has the pages that lie wholly within `memory` come from `node` when they are touched first, whoever does. Those that were
/// touched already stay where they are.
///
/// It holds for these pages until they are given back to the system. Each call may cost the kernel an entry in its list of areas,
/// of which there are some ten thousands: it is for few large pieces.
///
/// # Errors
///
/// As [`prefer`].
pub fn prefer_for(memory: &mut [u8], node: NodeId) -> Result<(), Error> {
    let error = Error::during("prefer a node for a piece of memory");
    let mask = mask(node).map_err(&error)?;
    let page = page_size();
    let start = memory.as_mut_ptr();
    let before = start.align_offset(page);
    let len = memory.len().saturating_sub(before) / page * page;
    if len == 0 {
        return Ok(());
    }
    let first: *mut c_void = start.wrapping_add(before).cast();
    // SAFETY: the kernel reads `MASK_BITS` - 1 bits of the mask, all of it, and changes nothing of the memory but which pages it
    // will get where it has none: its content and its protection stay. The pages are wholly in the borrowed slice.
    let failed = unsafe {
        libc::syscall(libc::SYS_mbind, first, len, libc::MPOL_PREFERRED, mask.as_ptr(), MASK_BITS, NO_FLAGS)
    } != 0;
    if failed { Err(error(last_errno())) } else { Ok(()) }
}

const NO_FLAGS: c_ulong = 0;

fn mask(NodeId(node): NodeId) -> Result<Mask, Errno> {
    let mut mask = Mask::default();
    let node = usize::try_from(node).map_err(|_| Errno::INVAL)?;
    *mask.get_mut(node / WORD).ok_or(Errno::INVAL)? |= 1 << (node % WORD);
    Ok(mask)
}

/// Sets the policy of the calling thread.
fn set(policy: c_int, mask: Option<&Mask>) -> Result<(), Errno> {
    let (mask, bits) = mask.map_or((null(), 0), |mask| (mask.as_ptr(), MASK_BITS));
    // SAFETY: the kernel reads `bits` - 1 bits behind the pointer, all of a mask that outlives the call, or none.
    let failed = unsafe { libc::syscall(libc::SYS_set_mempolicy, policy, mask, bits) } != 0;
    if failed { Err(last_errno()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// The policy of this thread, or of the memory at an address, and its nodes. None if the system does not tell.
    fn policy(address: Option<*const u8>) -> Option<(c_int, Vec<u32>)> {
        const MPOL_F_ADDR: c_ulong = 2;
        let (mut policy, mut mask) = (-1, Mask::default());
        let (address, flags) = address.map_or((null(), 0), |address| (address, MPOL_F_ADDR));
        // SAFETY: the kernel writes an int, and at most `MASK_BITS` - 1 bits to the mask, which has as many.
        let result = unsafe {
            libc::syscall(
                libc::SYS_get_mempolicy,
                &raw mut policy,
                mask.as_mut_ptr(),
                MASK_BITS,
                address,
                flags,
            )
        };
        let has = |node: &u32| mask[*node as usize / WORD] >> (*node as usize % WORD) & 1 == 1;
        (result == 0).then(|| (policy, (0..1024).filter(has).collect()))
    }

    fn is_refused_by_the_system(result: &Result<(), Error>) -> bool {
        let errno = result.as_ref().err().and_then(Error::raw_os_error);
        let refused = matches!(errno, Some(libc::EPERM | libc::ENOSYS));
        if refused {
            println!("SKIPPED: no memory policies here");
        }
        refused
    }

    #[test]
    fn preferred_node_is_that_of_the_thread_and_of_no_other() {
        let before = policy(None);
        thread::spawn(|| {
            let result = prefer(NodeId(0));
            if is_refused_by_the_system(&result) {
                return;
            }
            result.unwrap();
            assert_eq!(policy(None), Some((libc::MPOL_PREFERRED, vec![0])));
            prefer_local().unwrap();
            assert_eq!(policy(None), Some((libc::MPOL_DEFAULT, vec![])));
        })
        .join()
        .unwrap();
        assert_eq!(policy(None), before);
    }

    #[test]
    fn nodes_that_are_not_there_are_refused_and_change_nothing() {
        thread::spawn(|| {
            if is_refused_by_the_system(&prefer(NodeId(0))) {
                return;
            }
            for node in [1023, 1024, u32::MAX] {
                assert_eq!(prefer(NodeId(node)).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{node}");
            }
            let error = prefer_for(&mut vec![0; 1 << 20], NodeId(1024)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            assert_eq!(policy(None), Some((libc::MPOL_PREFERRED, vec![0])));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn piece_of_memory_has_whole_pages_of_its_node_and_keeps_its_content() {
        let page = page_size();
        let mut memory: Vec<u8> = (0..8 * page).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let content = memory.clone();
        let odd = memory.as_ptr().align_offset(page) + 1;
        let piece = &mut memory[odd..odd + 4 * page];
        let result = prefer_for(piece, NodeId(0));
        if is_refused_by_the_system(&result) {
            return;
        }
        result.unwrap();
        let at = |offset: usize| policy(Some(piece.as_ptr().wrapping_add(offset)));
        // The piece begins one byte into its first page, and ends one byte into its last.
        let expected = Some((libc::MPOL_PREFERRED, vec![0]));
        assert_eq!([at(page), at(3 * page)], [expected.clone(), expected.clone()]);
        assert_ne!(at(0), expected);
        assert_ne!(at(4 * page - 1), expected);
        assert!(memory == content);
        for len in [0, 1, page] {
            prefer_for(&mut memory[odd..odd + len], NodeId(0)).unwrap();
        }
    }
}
