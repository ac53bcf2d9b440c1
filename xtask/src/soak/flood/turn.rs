//! One turn of one program in one row.

use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant;

use wg_netns::flood::Flood;
use wg_netns::newcomers::Newcomers;
use wg_netns::site::{Destination, Processors, Site};
use wg_netns::stream::Stream;
use wg_netns::{Program, echo, process};

use super::Row;
use super::figures::Figures;

/// The time between echo requests.
const INTERVAL: Duration = Duration::from_millis(10);
/// What a stream needs to find its pace.
const SLOW_START: Duration = Duration::from_millis(500);
/// How long the flood goes to the sink.
const BASELINE: Duration = Duration::from_secs(5);
/// How long is watched after the flood.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// In which a newcomer must have its session: a round for the cookie, and one retransmission.
pub(super) const NEWCOMER_LIMIT: Duration = Duration::from_secs(11);
/// Newcomers of a flood, and of one that lasts longer than a minute.
const NEWCOMERS: [u16; 2] = [100, 1000];
/// The index of a session is live for three minutes after its birth.
const LOOK_AGAIN: Duration = Duration::from_secs(45);
/// Setting a site up and taking it down.
const AROUND: Duration = Duration::from_secs(2);
const PORT: u16 = 5201;

/// How long the parts of a turn take.
#[derive(Debug)]
pub(super) struct Plan {
    baseline: Duration,
    flood: Duration,
}

impl Plan {
    pub(super) fn new(flood: Duration) -> Self {
        Self { baseline: BASELINE.min(flood), flood }
    }

    /// The whole turn, about.
    pub(super) fn length(&self) -> Duration {
        self.baseline + self.flood + AFTERWARDS + AROUND
    }
}

/// What traffic came to.
struct Traffic {
    /// Gigabits a second of TCP.
    goodput: f64,
    echo: echo::Report,
    /// The share of a processor that the victim took while there was no TCP.
    processor: f64,
}

/// Takes a turn.
pub(super) fn take(row: Row, program: Program, plan: &Plan) -> Result<Figures, String> {
    let site = Site::build(program, Processors::apart());
    let index = site.live_index();

    let flood = site.flood(Destination::Sink, row.kind(index), row.rate());
    let before = traffic(&site, plan.baseline, &flood, None)?;
    flood.finish();

    let (answers, overflowed) = (site.answers(), site.overflowed());
    let long = plan.flood > Duration::from_secs(60);
    let window = plan.flood.saturating_sub(NEWCOMER_LIMIT).max(SLOW_START);
    let flood = site.flood(Destination::Victim, row.kind(index), row.rate());
    std::thread::sleep(SLOW_START);
    let newcomers = Newcomers::start(
        &site.peer.namespace,
        &site.victim,
        site.entrance(),
        NEWCOMERS[usize::from(long)],
        window,
        site.processors.others,
    );
    let resident = || process::resident_kib(site.victim.tunnel.pid()).unwrap_or(0);
    let memory = resident();
    let refresh = matches!(row, Row::H4).then_some(LOOK_AGAIN);
    let during = traffic(&site, plan.flood.saturating_sub(SLOW_START), &flood, refresh)?;
    let grown = resident().saturating_sub(memory);
    let account = flood.finish();

    let after = echo::run(&site.peer.namespace, site.inside(), INTERVAL, AFTERWARDS, site.processors.others);
    let newcomers = newcomers.finish();
    let (packets, bytes) = site.answers();
    // Five times what was usual before, and not less than the hiccups of a machine.
    let usual = before.echo.percentile(0.99).unwrap_or(0.0).max(1.0);
    let slow = Duration::from_secs_f64(usual * 5.0 / 1e3);
    Ok(Figures {
        rate: account.rate(),
        goodput_before: before.goodput,
        goodput: during.goodput,
        echo_median: during.echo.percentile(0.5),
        echo_99: during.echo.percentile(0.99),
        echo_before: before.echo.percentile(0.5),
        echo_loss: during.echo.loss(),
        processor_before: before.processor,
        processor: during.processor,
        newcomers,
        memory_grown: grown,
        recovery: after.last_beyond(slow).unwrap_or_default(),
        sent: account.sent,
        // What Ethernet, IPv4 and UDP add to a message.
        sent_bytes: account.bytes + account.sent * 42,
        answered: packets - answers.0,
        answered_bytes: bytes - answers.1,
        overflowed: site.overflowed() - overflowed,
    })
}

/// Two thirds of `time` for a stream, in which newcomers begin, the rest for echo requests alone.
fn traffic(site: &Site, time: Duration, flood: &Flood, refresh: Option<Duration>) -> Result<Traffic, String> {
    let start = Instant::now();
    let mut looked = start;
    let (peer, victim) = (&site.peer.namespace, &site.victim.namespace);
    let address = SocketAddr::new(site.inside().into(), PORT);
    let stream = Stream::start(peer, victim, address, [site.processors.others, site.processors.victim])
        .map_err(|error| format!("TCP: {error}"))?;
    std::thread::sleep(SLOW_START);
    let (began, arrived, busy) = (Instant::now(), stream.arrived(), time * 2 / 3);
    while start.elapsed() < busy {
        std::thread::sleep(busy.saturating_sub(start.elapsed()).min(Duration::from_millis(200)));
        look_again(site, flood, refresh, &mut looked);
    }
    let goodput = (stream.arrived() - arrived) as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e9;
    drop(stream);

    let used = || process::cpu_time(site.victim.tunnel.pid()).unwrap_or_default();
    let (quiet, before) = (Instant::now(), used());
    let mut echo = echo::Report::default();
    // In parts, as sessions come and go.
    while start.elapsed() < time {
        let part = time.saturating_sub(start.elapsed()).min(LOOK_AGAIN).max(INTERVAL);
        echo.requests.extend(echo::run(peer, site.inside(), INTERVAL, part, site.processors.others).requests);
        look_again(site, flood, refresh, &mut looked);
    }
    let processor = (used() - before).as_secs_f64() / quiet.elapsed().as_secs_f64();
    Ok(Traffic { goodput, echo, processor })
}

/// Tells a flood of data the index that is live now, if it is time.
fn look_again(site: &Site, flood: &Flood, every: Option<Duration>, looked: &mut Instant) {
    if every.is_some_and(|every| looked.elapsed() > every) {
        flood.set_index(site.live_index());
        *looked = Instant::now();
    }
}
