//! `wg-embed`: lines of text through a WireGuard tunnel, to show what a program around `wg-proto` looks like.
//!
//! Every line from standard input travels as an IP packet; lines of the peer come out on standard output. The tunnel is in
//! `tunnel.rs`; here are only arguments, keys and the two threads that wait for input. A VPN program has a TUN device where
//! this one has lines.

mod packet;
mod tunnel;

use core::error::Error;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{BufRead, stdin};
use std::net::UdpSocket;
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use base64::{Engine, prelude::BASE64_STANDARD};
use getrandom::SysRng;
use wg_proto::{Config, PrivateKey, PublicKey};

use crate::tunnel::{Input, Tunnel};

const USAGE: &str = "\
usage: wg-embed genkey > KEYFILE          a new private key; its public key goes to standard error
       wg-embed KEYFILE LISTEN INNER PEER_KEY PEER_INNER [PEER_ADDRESS]

  wg-embed genkey > a.key; wg-embed genkey > b.key
  wg-embed b.key 127.0.0.1:5002 10.0.0.2 PUBLIC_KEY_OF_A 10.0.0.1
  wg-embed a.key 127.0.0.1:5001 10.0.0.1 PUBLIC_KEY_OF_B 10.0.0.2 127.0.0.1:5002";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["genkey"] => genkey(),
        [keyfile, listen, inner, peer_key, peer_inner] => {
            run(keyfile, listen, inner, peer_key, peer_inner, None)
        }
        [keyfile, listen, inner, peer_key, peer_inner, peer] => {
            run(keyfile, listen, inner, peer_key, peer_inner, Some(peer))
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = &done {
        eprintln!("wg-embed: {error}");
    }
    ExitCode::from(u8::from(done.is_err()))
}

fn genkey() -> Result<(), Box<dyn Error>> {
    let key = PrivateKey::generate(&mut SysRng)?;
    println!("{}", BASE64_STANDARD.encode(key.as_bytes()));
    eprintln!("{}", BASE64_STANDARD.encode(key.public_key().as_bytes()));
    Ok(())
}

fn run(
    keyfile: &str,
    listen: &str,
    inner: &str,
    peer_key: &str,
    peer_inner: &str,
    peer: Option<&str>,
) -> Result<(), Box<dyn Error>> {
    let (inner, peer_inner): (Ipv4Addr, Ipv4Addr) = (inner.parse()?, peer_inner.parse()?);
    let config = Config {
        endpoint: peer.map(str::parse).transpose()?,
        // Whoever begins keeps the way open through address translators.
        persistent_keepalive: Duration::from_secs(if peer.is_some() { 25 } else { 0 }),
        ..Config::new(PublicKey::from_bytes(decode(peer_key)?))
    };
    let identity = PrivateKey::from_bytes(decode(&std::fs::read_to_string(keyfile)?)?);
    let socket = UdpSocket::bind(listen.parse::<SocketAddr>()?)?;
    eprintln!("listening on {}", socket.local_addr()?);

    // Bounded: a flood waits in the socket, where the kernel drops it.
    let (datagrams, inputs) = sync_channel(256);
    let packets = datagrams.clone();
    let receiver = socket.try_clone()?;
    thread::spawn(move || read_datagrams(&receiver, &datagrams));
    thread::spawn(move || read_lines(inner, peer_inner, &packets));
    let deliver = |packet: &[u8]| {
        if let Some(line) = packet::to_line(packet) {
            println!("{line}");
        }
    };
    Ok(Tunnel::new(identity, config, peer_inner, socket)?.run(&inputs, deliver)?)
}

fn read_datagrams(socket: &UdpSocket, inputs: &SyncSender<Input>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // An error here is about a datagram sent before (ICMP); the next call works.
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        if inputs.send(Input::Datagram(buffer[..len].to_vec(), from)).is_err() {
            return;
        }
    }
}

fn read_lines(source: Ipv4Addr, destination: Ipv4Addr, inputs: &SyncSender<Input>) {
    for line in stdin().lock().lines().map_while(Result::ok) {
        if let Some(packet) = packet::from_line(&line, source, destination)
            && inputs.send(Input::Packet(packet)).is_err()
        {
            return;
        }
    }
}

fn decode(key: &str) -> Result<[u8; 32], Box<dyn Error>> {
    BASE64_STANDARD.decode(key.trim())?.try_into().map_err(|_| "a key is 32 bytes in base64".into())
}
