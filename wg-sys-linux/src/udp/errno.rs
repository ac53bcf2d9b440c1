//! The error table of the UDP sockets: what to do about each error number (C91, C101, C102).
//!
//! No error ends a loop except that of a descriptor which is no socket any more. An error of a receive call is about
//! something else than a datagram: a queued ICMP report, the kernel's memory. So nothing is lost by it, and the call is
//! worth repeating. An error of a send call is about the first datagram not yet taken; those before it have left.
//!
//! | error | on receive | on send |
//! |---|---|---|
//! | EAGAIN | would block | would block |
//! | EINTR | again | again |
//! | ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, ENONET, ENOPROTOOPT, EPROTO, EOPNOTSUPP, EMSGSIZE, EPIPE, ECONNRESET, ECONNABORTED, ETIMEDOUT | a report of an earlier send: again | once more, as it may be the report of an earlier send; then drop |
//! | EIO, EINVAL, EMSGSIZE, of a message of several datagrams | | one by one, see `gso` |
//! | EINVAL, EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH, ENODEV, with a pinned source | | forget the source, once more |
//! | ENOBUFS, ENOMEM | transient | drop; ENOBUFS over IPv6 is a loss in a full queue, of which IPv4 does not tell |
//! | EPERM, EACCES (a firewall), EINVAL, ... | transient | drop |
//! | EBADF, ENOTSOCK | fatal | drop |

use core::ffi::c_int;

/// What to do after a failed receive call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterRecv {
    /// Nothing is waiting.
    WouldBlock,
    /// Call again at once: the error was consumed by being reported.
    Again,
    /// Count it; a later call may succeed.
    Transient,
    /// The socket is gone.
    Fatal,
}

/// What to do after a failed send call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterSend {
    /// The socket buffer is full.
    WouldBlock,
    /// Call again at once.
    Again,
    /// Without the pinned source it may go; without one, as [`Once`](Self::Once).
    Unpin,
    /// Call once more for this datagram: the error may be another's.
    Once,
    /// This datagram cannot be sent.
    Drop,
}

/// Sorts an error of a receive call.
pub(super) const fn after_recv(errno: c_int) -> AfterRecv {
    match errno {
        libc::EAGAIN => AfterRecv::WouldBlock,
        libc::EINTR => AfterRecv::Again,
        libc::EBADF | libc::ENOTSOCK => AfterRecv::Fatal,
        _ if is_report(errno) => AfterRecv::Again,
        _ => AfterRecv::Transient,
    }
}

/// Sorts an error of a send call.
pub(super) const fn after_send(errno: c_int) -> AfterSend {
    match errno {
        libc::EAGAIN => AfterSend::WouldBlock,
        libc::EINTR => AfterSend::Again,
        libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENODEV => {
            AfterSend::Unpin
        }
        _ if is_report(errno) => AfterSend::Once,
        _ => AfterSend::Drop,
    }
}

/// Whether the kernel may have queued this error for an earlier datagram, from an ICMP message or a link that is down.
pub(super) const fn is_report(errno: c_int) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENETDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EPROTO
            | libc::EOPNOTSUPP
            | libc::EPIPE
            | libc::ECONNRESET
            | libc::ECONNABORTED
            | libc::ETIMEDOUT
            | libc::EMSGSIZE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_but_a_lost_descriptor_ends_receiving() {
        // C101
        for errno in 1..=133 {
            let lost = matches!(errno, libc::EBADF | libc::ENOTSOCK);
            assert_eq!(after_recv(errno) == AfterRecv::Fatal, lost, "{errno}");
        }
    }

    #[test]
    fn receive_errors_are_sorted() {
        for errno in [
            libc::ECONNREFUSED,
            libc::ENETDOWN,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
            libc::EINTR,
            libc::EMSGSIZE,
        ] {
            assert_eq!(after_recv(errno), AfterRecv::Again, "{errno}");
        }
        for errno in [libc::ENOBUFS, libc::ENOMEM, libc::EPERM, libc::EINVAL, libc::EFAULT, libc::EIO] {
            assert_eq!(after_recv(errno), AfterRecv::Transient, "{errno}");
        }
        assert_eq!(after_recv(libc::EAGAIN), AfterRecv::WouldBlock);
        assert_eq!(after_recv(libc::EWOULDBLOCK), AfterRecv::WouldBlock);
    }

    #[test]
    fn errors_of_a_stale_source_unpin_it() {
        // C91
        for errno in [libc::EINVAL, libc::EADDRNOTAVAIL, libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ENODEV]
        {
            assert_eq!(after_send(errno), AfterSend::Unpin, "{errno}");
        }
    }

    #[test]
    fn send_errors_are_sorted() {
        for errno in [libc::ECONNREFUSED, libc::ENETDOWN, libc::EHOSTDOWN, libc::EMSGSIZE] {
            assert_eq!(after_send(errno), AfterSend::Once, "{errno}");
        }
        let drop = [libc::EPERM, libc::EACCES, libc::EIO, libc::ENOBUFS, libc::ENOMEM, libc::EDESTADDRREQ];
        for errno in drop {
            assert_eq!(after_send(errno), AfterSend::Drop, "{errno}");
        }
        assert_eq!(after_send(libc::EAGAIN), AfterSend::WouldBlock);
        assert_eq!(after_send(libc::EINTR), AfterSend::Again);
    }
}
