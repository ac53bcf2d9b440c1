//! The parsers of what the kernel says, which need no kernel: for fuzzing and tests. No part of the interface.

pub use crate::netlink::probe::{Answer, NetlinkMessage, answer_to, attributes, command, messages};
pub use crate::tun::probe::{read_frame_header, write_frame_header};
pub use crate::udp::probe::{ControlMessage, control_messages, pin_source};
