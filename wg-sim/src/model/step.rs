//! One step of one host, as a function: of its state, what happens to it, the time, and how many messages there were.
//!
//! Most states of a model differ in the other host or in what is under way, so the same step is taken over and over. A
//! function need be computed once only, and Diffie-Hellman is nearly all that a step costs; [`Steps`] remembers.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;

use wg_proto::{Mac1Key, ReceiveError};

use crate::model::host::{Came, Host, Identity, Outside};
use crate::model::ledger::{Rule, Violation};
use crate::model::side::elsewhere;
use crate::model::wire::{Flying, Kind};

/// Whether datagrams are also delivered forged and repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Adversary {
    Present,
    Absent,
}

/// What happens to a host.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    /// It has this packet to send.
    Send(u32),
    /// A datagram of the other host arrives.
    Datagram(&'a Flying, Adversary),
    /// Its timers are polled.
    Poll,
    /// It starts anew.
    Restart,
    /// It goes on from its snapshot.
    Restore,
}

/// What is never changed and that a step depends on.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) identity: Identity,
    /// The key of MAC1 that everyone has who knows its public key.
    pub(super) mac1: Mac1Key,
}

/// What came of it.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) host: Arc<Host>,
    pub(super) sent: Vec<Flying>,
    pub(super) messages: u32,
    /// What a datagram was taken for, if one came.
    pub(super) came: Option<Result<Came, ReceiveError>>,
}

/// Takes a step.
pub(super) fn step(
    host: &Host,
    input: Input<'_>,
    fixed: &Fixed,
    now: Duration,
    messages: u32,
) -> Result<Step, Violation> {
    let mut host = host.clone();
    let mut outside = Outside { now, messages, sent: Vec::new() };
    let mut came = None;
    match input {
        Input::Send(packet) => host.send(packet, &mut outside)?,
        Input::Datagram(flying, Adversary::Absent) => came = Some(host.take(flying, &mut outside)?),
        Input::Datagram(flying, Adversary::Present) => {
            host.refuse(&flying.forged(&fixed.mac1), Rule::Silence, &mut outside)?;
            if let Some(renumbered) = flying.renumbered() {
                host.refuse(&renumbered, Rule::Silence, &mut outside)?;
            }
            came = Some(host.take(flying, &mut outside)?);
            host.refuse(&flying.bytes, Rule::Replay, &mut outside)?;
        }
        Input::Poll => host.poll(&outside),
        Input::Restart => host.restart(&fixed.identity),
        Input::Restore => host.restore(),
    }
    host.settle(&mut outside)?;
    host.seal_state(now);
    let Outside { messages, sent, .. } = outside;
    Ok(Step { host: Arc::new(host), sent, messages, came })
}

impl Host {
    /// A datagram of the other host arrives. If it is refused it must have changed nothing.
    fn take(
        &mut self,
        flying: &Flying,
        outside: &mut Outside,
    ) -> Result<Result<Came, ReceiveError>, Violation> {
        let before = self.exact(outside.now);
        let came = self.handle(&flying.bytes, flying.from.address(), outside);
        match (&came, flying.kind) {
            (Ok(_), Kind::Data { receiver, .. }) => self.ledger.heard(receiver),
            (Err(error), _) => self.unchanged(before, Rule::Silence, *error, outside)?,
            _ => {}
        }
        self.settle(outside)?;
        Ok(came)
    }

    /// A datagram that must not be taken comes from elsewhere.
    fn refuse(&mut self, datagram: &[u8], rule: Rule, outside: &mut Outside) -> Result<(), Violation> {
        let (before, sent) = (self.exact(outside.now), outside.sent.len());
        let error = match self.handle(datagram, elsewhere(), outside) {
            Ok(came) => return Err(Violation::new(rule, format!("{:?} took {came:?}", self.side()))),
            Err(error) => error,
        };
        self.settle(outside)?;
        if outside.sent.len() != sent {
            let what = format!("{:?} answered what it refused: {error}", self.side());
            return Err(Violation::new(rule, what));
        }
        self.unchanged(before, rule, error, outside)
    }

    fn unchanged(
        &self,
        before: u64,
        rule: Rule,
        error: ReceiveError,
        outside: &Outside,
    ) -> Result<(), Violation> {
        if self.exact(outside.now) == before {
            return Ok(());
        }
        let what = format!("{:?} was changed by what it refused: {error}", self.side());
        Err(Violation::new(rule, what))
    }
}

/// All that the result of a step depends on; what is fixed is not among it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    host: u128,
    now: Duration,
    messages: u32,
    input: (u8, u32, Option<Arc<[u8]>>),
}

/// Steps that were taken before, with the scenario they belong to.
#[derive(Default)]
pub(super) struct Steps(HashMap<Key, Step>);

impl Steps {
    /// Steps that are remembered; a step takes some 6 KiB.
    const MOST: usize = 16_000;

    /// Takes a step, or remembers it.
    pub(super) fn step(
        &mut self,
        host: &Host,
        input: Input<'_>,
        fixed: &Fixed,
        now: Duration,
        messages: u32,
    ) -> Result<Step, Violation> {
        let input_key = match input {
            Input::Send(packet) => (0, packet, None),
            Input::Datagram(flying, Adversary::Present) => {
                (1, flying.packet(), Some(Arc::clone(&flying.bytes)))
            }
            Input::Datagram(flying, Adversary::Absent) => {
                (2, flying.packet(), Some(Arc::clone(&flying.bytes)))
            }
            Input::Poll => (3, 0, None),
            Input::Restart => (4, 0, None),
            Input::Restore => (5, 0, None),
        };
        let key = Key { host: host.state(), now, messages, input: input_key };
        if let Some(step) = self.0.get(&key) {
            return Ok(step.clone());
        }
        let step = step(host, input, fixed, now, messages)?;
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(key, step.clone());
        Ok(step)
    }
}
