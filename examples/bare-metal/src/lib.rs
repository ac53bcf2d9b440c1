//! What of the firmware is the same on every board: the peer, the pings and the settings. It makes no assumption about the
//! machine, has no `unsafe`, and is tested on any.

#![no_std]
#![forbid(unsafe_code)]

mod echo;
mod node;
mod settings;

pub use echo::answer;
pub use node::{Counts, Node, Now};
pub use settings::{Settings, SettingsError};
