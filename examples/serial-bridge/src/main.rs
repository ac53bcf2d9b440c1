//! `wg-serial-bridge LINE ADDRESS`: carries datagrams between the serial line of a board and a UDP socket.
//!
//! What the board says is printed; lines from standard input are commands to the board. The program ends with the line.

use core::error::Error;
use core::net::SocketAddr;
use core::time::Duration;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write, stdin};
use std::net::UdpSocket;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use wg_serial_bridge::{Decoder, Frame, HEADER_LEN};

const USAGE: &str = "\
usage: wg-serial-bridge LINE ADDRESS      LINE: a serial device, set up with stty, or a Unix socket
                                          ADDRESS: to send datagrams from, such as 0.0.0.0:0";

/// The largest UDP datagram, framed.
const LONGEST: usize = u16::MAX as usize + HEADER_LEN;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [line, address] = &arguments[..] else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    match run(line, address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wg-serial-bridge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: &str, address: &str) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind(address.parse::<SocketAddr>()?)?;
    let (from_board, to_board) = open(line)?;
    // Two write to the board, each a whole frame at a time.
    let to_board = Mutex::new(to_board);
    thread::scope(|scope| {
        scope.spawn(|| from_network(&socket, &to_board));
        scope.spawn(|| from_user(&to_board));
        let ended = read_board(from_board, &socket);
        // The others wait for what may never come.
        match ended {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("wg-serial-bridge: {line}: {error}");
                std::process::exit(1);
            }
        }
    })
}

type Line = (Box<dyn Read + Send>, Box<dyn Write + Send>);

fn open(line: &str) -> io::Result<Line> {
    if std::fs::metadata(line)?.file_type().is_socket() {
        let stream = connect(line)?;
        return Ok((Box::new(stream.try_clone()?), Box::new(stream)));
    }
    let device = File::options().read(true).write(true).open(line)?;
    Ok((Box::new(device.try_clone()?), Box::new(device)))
}

/// Connects to a socket. An emulator that has just made it may not listen yet.
fn connect(line: &str) -> io::Result<UnixStream> {
    for _ in 0..100 {
        match UnixStream::connect(line) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                thread::sleep(Duration::from_millis(50));
            }
            other => return other,
        }
    }
    UnixStream::connect(line)
}

/// From the board, until the line ends: datagrams to the network, text to standard output.
fn read_board(line: Box<dyn Read + Send>, socket: &UdpSocket) -> io::Result<()> {
    let mut decoder = Box::new(Decoder::<LONGEST>::new());
    for byte in BufReader::new(line).bytes() {
        let Some(frame) = decoder.push(byte?) else { continue };
        match Frame::parse(frame) {
            // One that cannot be sent is one lost, as on any network.
            Some(Frame::Datagram(to, datagram)) => drop(socket.send_to(datagram, to)),
            Some(Frame::Text(text)) => println!("{text}"),
            Some(Frame::Command(_)) | None => {}
        }
    }
    Ok(())
}

fn from_network(socket: &UdpSocket, board: &Mutex<Box<dyn Write + Send>>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // An error here is about a datagram sent before (ICMP); the next call works.
        let Ok((len, SocketAddr::V4(from))) = socket.recv_from(&mut buffer) else { continue };
        send(board, &Frame::Datagram(from, &mut buffer[..len]));
    }
}

fn from_user(board: &Mutex<Box<dyn Write + Send>>) {
    for line in stdin().lock().lines().map_while(Result::ok) {
        send(board, &Frame::Command(&line));
    }
}

fn send(board: &Mutex<Box<dyn Write + Send>>, frame: &Frame<'_>) {
    let mut bytes = Vec::new();
    frame.write(|byte| bytes.push(byte));
    let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
    // When the line has ended, the thread that reads it says so and ends the program.
    drop(board.write_all(&bytes).and_then(|()| board.flush()));
}
