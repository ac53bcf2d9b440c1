//! Names of hosts and services: what the parser asks of its caller, and the answer of the system.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::ffi::OsStr;
use std::thread;

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};

/// The environment variable that says how often a name is asked for again.
const RETRIES: &str = "WG_ENDPOINT_RESOLUTION_RETRIES";
/// How often, if it is not set.
const DEFAULT_RETRIES: u32 = 15;
/// The first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

/// Finds addresses for the names in a configuration file.
pub trait Resolve {
    /// Finds an address for a host, which may be an address in any form the system reads, and a port, which may be the
    /// name of a service.
    ///
    /// # Errors
    ///
    /// There is no answer; trying again is the resolver's business.
    fn endpoint(&mut self, host: &str, port: &str) -> Result<SocketAddr, ResolveError>;

    /// Finds the port of a UDP service.
    ///
    /// # Errors
    ///
    /// There is no such service.
    fn port(&mut self, service: &str) -> Result<u16, ResolveError>;
}

/// Why a name was not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolveError {
    /// The host does not exist, or has no address.
    UnknownHost,
    /// The service does not exist.
    UnknownService,
    /// Nobody who knows could be reached.
    Unavailable,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownHost => "the host is not known",
            Self::UnknownService => "the service is not known",
            Self::Unavailable => "the host cannot be looked up for now",
        })
    }
}

impl core::error::Error for ResolveError {}

/// How often a name is asked for again, after a failure that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// So many times.
    Count(u32),
    /// Until there is an answer.
    Endless,
}

impl Retries {
    /// Reads the value of `WG_ENDPOINT_RESOLUTION_RETRIES`; what is not understood is the default, 15.
    #[must_use]
    pub fn from_value(value: Option<&OsStr>) -> Self {
        match value.and_then(OsStr::to_str) {
            Some("infinity") => Self::Endless,
            Some(value) => Self::Count(value.parse().unwrap_or(DEFAULT_RETRIES)),
            None => Self::Count(DEFAULT_RETRIES),
        }
    }
}

/// The resolver of the system, which knows `/etc/hosts`, `/etc/services` and the name servers.
///
/// `P` waits between two tries, and tells whether there is to be another.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver<P = fn(Duration) -> bool> {
    retries: Retries,
    pause: P,
}

impl SystemResolver {
    /// Makes a resolver that asks again as the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::new(Retries::from_value(std::env::var_os(RETRIES).as_deref()))
    }

    /// Makes a resolver that asks again so often.
    #[must_use]
    pub fn new(retries: Retries) -> Self {
        Self { retries, pause: sleep }
    }

    /// Waits in another way, which may give up by answering `false`.
    #[must_use]
    pub fn pausing_by<P: FnMut(Duration) -> bool>(self, pause: P) -> SystemResolver<P> {
        SystemResolver { retries: self.retries, pause }
    }
}

fn sleep(pause: Duration) -> bool {
    thread::sleep(pause);
    true
}

impl<P: FnMut(Duration) -> bool> Resolve for SystemResolver<P> {
    fn endpoint(&mut self, host: &str, port: &str) -> Result<SocketAddr, ResolveError> {
        with_retries(self.retries, || look_up(Some(host), port), &mut self.pause)
    }

    fn port(&mut self, service: &str) -> Result<u16, ResolveError> {
        look_up(None, service).map(|address| address.port())
    }
}

/// Asks until there is an answer, an error that will stay, or no attempt left; the pauses grow by a fifth.
fn with_retries<T>(
    retries: Retries,
    mut attempt: impl FnMut() -> Result<T, ResolveError>,
    mut pause: impl FnMut(Duration) -> bool,
) -> Result<T, ResolveError> {
    let (mut next_pause, longest) = PAUSES;
    let mut left = retries;
    loop {
        let result = attempt();
        match &mut left {
            _ if !matches!(result, Err(ResolveError::Unavailable)) => return result,
            Retries::Count(0) => return result,
            Retries::Count(count) => *count -= 1,
            Retries::Endless => {}
        }
        if !pause(next_pause) {
            return result;
        }
        next_pause = (next_pause * 6 / 5).min(longest);
    }
}

fn look_up(host: Option<&str>, service: &str) -> Result<SocketAddr, ResolveError> {
    let hints = AddrInfoHints { socktype: SockType::DGram.into(), ..AddrInfoHints::default() };
    let answers = getaddrinfo(host, Some(service), Some(hints)).map_err(|error| match error.kind() {
        LookupErrorKind::Service => ResolveError::UnknownService,
        // Without a host only the service can be unknown. A name that no C string holds is no name either.
        LookupErrorKind::NoName | LookupErrorKind::NoData | LookupErrorKind::Fail | LookupErrorKind::IO => {
            if host.is_some() {
                ResolveError::UnknownHost
            } else {
                ResolveError::UnknownService
            }
        }
        _ => ResolveError::Unavailable,
    })?;
    answers.flatten().map(|answer| answer.sockaddr).next().ok_or(ResolveError::UnknownHost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        retries: Retries,
        mut answers: Vec<Result<u8, ResolveError>>,
    ) -> (Result<u8, ResolveError>, Vec<u128>) {
        let mut pauses = Vec::new();
        let pause = |pause: Duration| {
            pauses.push(pause.as_millis());
            pauses.len() < 40
        };
        let result = with_retries(retries, || answers.remove(0), pause);
        (result, pauses)
    }

    #[test]
    fn a_failure_that_may_pass_is_tried_again_with_growing_pauses() {
        let answers = [vec![Err(ResolveError::Unavailable); 3], vec![Ok(7)]].concat();
        assert_eq!(ask(Retries::Count(15), answers.clone()), (Ok(7), vec![1000, 1200, 1440]));
        assert_eq!(ask(Retries::Endless, answers.clone()), (Ok(7), vec![1000, 1200, 1440]));
        assert_eq!(ask(Retries::Count(2), answers), (Err(ResolveError::Unavailable), vec![1000, 1200]));
    }

    #[test]
    fn pauses_are_bounded_and_can_give_up() {
        // The fortieth pause of the helper is its last.
        let (result, pauses) = ask(Retries::Endless, vec![Err(ResolveError::Unavailable); 50]);
        assert_eq!(result, Err(ResolveError::Unavailable));
        assert_eq!((pauses.len(), pauses[39]), (40, 20_000));
    }

    #[test]
    fn a_name_that_does_not_exist_is_not_tried_again() {
        for error in [ResolveError::UnknownHost, ResolveError::UnknownService] {
            assert_eq!(ask(Retries::Endless, vec![Err(error)]), (Err(error), vec![]));
        }
    }

    #[test]
    fn retries_are_read_as_wg_documents_them() {
        for (value, retries) in [
            (None, Retries::Count(15)),
            (Some("infinity"), Retries::Endless),
            (Some("0"), Retries::Count(0)),
            (Some("3"), Retries::Count(3)),
            (Some("many"), Retries::Count(15)),
        ] {
            assert_eq!(Retries::from_value(value.map(OsStr::new)), retries, "{value:?}");
        }
    }

    #[test]
    fn the_system_reads_addresses_without_a_name_server() {
        let mut resolver = SystemResolver::new(Retries::Count(0));
        assert_eq!(resolver.endpoint("127.1", "7"), Ok(SocketAddr::from(([127, 0, 0, 1], 7))));
        let scoped = resolver.endpoint("fe80::1%1", "7").unwrap();
        assert_eq!(scoped.to_string(), "[fe80::1%1]:7");
        assert_eq!(resolver.endpoint("fe80::1%no-such-link", "7"), Err(ResolveError::UnknownHost));
        assert_eq!(resolver.endpoint("127.1", "no such service"), Err(ResolveError::UnknownService));
        assert_eq!(resolver.port("no such service"), Err(ResolveError::UnknownService));
        assert_eq!(resolver.port("nul\0"), Err(ResolveError::UnknownService));
    }
}
