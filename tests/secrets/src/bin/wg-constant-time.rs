//! Computes with secrets that valgrind takes for undefined, and asks after each computation whether a branch or an address
//! depended on one (the method of ctgrind). To be run as `cargo xtask test --only secrets` does.
//!
//! What the protocol makes public is marked so here, each time with the reason; the verdicts that are public where they are
//! made, such as that about a tag, are listed in [`wg_secrets::verdicts`] with theirs.

use core::convert::Infallible;
use core::hint::black_box;
use std::process::{Command, ExitCode};

use rand_core::{TryCryptoRng, TryRng};
use wg_aead::{Backend, Checksum, Key, OpenJob, SealJob, TAG_LEN};
use wg_proto::aead::{Aead, RingAead, RustCryptoAead};
use wg_proto::dh::{AwsLcDh, Dh};
use wg_proto::{
    Config, CookieChecker, CookieJar, DhError, Endpoint, Handled, Instant, Load, Mac1Key, Peer, PresharedKey,
    PrivateKey, PublicKey, SessionIndex, SharedSecret, StaticIdentity, UnixTime,
};
use wg_secrets::valgrind::{self, make_public, make_secret};
use wg_secrets::verdicts::Complaint;

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const WALL: UnixTime = UnixTime::new(1_700_000_000, 0);
const SIDES: [&str; 2] = ["192.0.2.1:1000", "192.0.2.2:2000"];

/// What is computed, and whether it must be caught.
const CASES: [(&str, fn(), Expected); 16] = [
    ("control: comparison that ends early", compare_and_end_early, Expected::Caught),
    ("control: look-up by a secret", look_up, Expected::Caught),
    ("public key of a private key, dalek", public_key::<PrivateKey>, Expected::Clean),
    ("public key of a private key, aws-lc", public_key::<AwsLcDh>, Expected::Clean),
    ("Diffie-Hellman, dalek", diffie_hellman::<PrivateKey>, Expected::Clean),
    ("Diffie-Hellman, aws-lc", diffie_hellman::<AwsLcDh>, Expected::Clean),
    ("comparison of private keys", compare_private_keys, Expected::Clean),
    ("absence of a pre-shared key", preshared_key_is_none, Expected::Clean),
    ("MAC1, written and verified", mac1, Expected::Clean),
    ("MAC1, verified in a batch", mac1_batch, Expected::Clean),
    ("cookie and MAC2, both sides", cookie, Expected::Clean),
    ("seal and open, RustCrypto", seal_and_open::<RustCryptoAead>, Expected::Clean),
    ("seal and open, ring", seal_and_open::<RingAead>, Expected::Clean),
    ("forgery, both", forgery, Expected::Clean),
    ("handshake and data, RustCrypto", handshake::<RustCryptoAead>, Expected::Clean),
    ("handshake and data, ring", handshake::<RingAead>, Expected::Clean),
];

/// What the names of backends follow in the argument; by itself it asks for all of them.
const BACKENDS: &str = "backend:";
/// Set where the batches of `wg-aead` were looked at already: its kernels are chosen at run time, and no flag changes them.
const WITHOUT_BATCHES: &str = "WG_WITHOUT_BATCHES";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// A branch or address depends on the secret, by intent: shows that it would be noticed.
    Caught,
    /// Nothing depends on it.
    Clean,
}

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let result = match argument.as_deref() {
        None => run_all(),
        Some(number) => run_one(number),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs each case under valgrind and judges what that says.
fn run_all() -> Result<(), String> {
    let mut failed = 0;
    let numbers: Vec<String> = (0..CASES.len()).map(|number| number.to_string()).collect();
    for (number, (said, (name, _, expected))) in all_under_valgrind(&numbers)?.iter().zip(CASES).enumerate() {
        if number == 0 {
            print!("{}", said.out);
        }
        failed += usize::from(!said.is_as_it_must_be(name, expected));
    }
    if std::env::var_os(WITHOUT_BATCHES).is_some() {
        return verdict_on(failed, CASES.len());
    }
    // The backends of `wg-aead` that the processor of valgrind has; which one ran is what it says itself.
    let backends = under_valgrind(BACKENDS)?.out;
    let names: Vec<&str> = backends.split_whitespace().collect();
    let arguments: Vec<String> = names.iter().map(|name| format!("{BACKENDS}{name}")).collect();
    for (said, name) in all_under_valgrind(&arguments)?.iter().zip(&names) {
        if said.out.trim() != format!("ran {name}") {
            return Err(format!("{name} was to run: {}", said.out));
        }
        failed +=
            usize::from(!said.is_as_it_must_be(&format!("batches by wg-aead, {name}"), Expected::Clean));
    }
    if !names.contains(&"portable") {
        return Err(format!("no portable backend: {backends}"));
    }
    // Valgrind has no AVX-512: the stage `instructions` looks at what valgrind cannot run.
    println!("backends of wg-aead that were not looked at: {}", unseen(&names).join(", "));
    verdict_on(failed, CASES.len() + names.len())
}

fn verdict_on(failed: usize, all: usize) -> Result<(), String> {
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {all} cases are not as they must be")) }
}

/// Runs cases under valgrind, two at a time: most of one is reading the symbols of this program.
fn all_under_valgrind(arguments: &[String]) -> Result<Vec<Said>, String> {
    let mut all = Vec::new();
    for two in arguments.chunks(2) {
        std::thread::scope(|scope| {
            let running: Vec<_> =
                two.iter().map(|argument| scope.spawn(|| under_valgrind(argument))).collect();
            for one in running {
                all.push(one.join().map_err(|_| "a case panicked".to_owned())??);
            }
            Ok::<(), String>(())
        })?;
    }
    Ok(all)
}

/// The backends of this processor that valgrind's does not have.
fn unseen(names: &[&str]) -> Vec<&'static str> {
    Backend::available().map(Backend::name).filter(|name| !names.contains(name)).collect()
}

/// What a case printed, and what valgrind complained of.
struct Said {
    out: String,
    complaints: Vec<Complaint>,
}

/// Runs a case under valgrind.
fn under_valgrind(argument: &str) -> Result<Said, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-limit=no", "--fullpath-after="]).arg(&own).arg(argument);
    let output = valgrind.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{argument}: {}: {said}", output.status));
    }
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Said { out, complaints: Complaint::read_all(&said) })
}

impl Said {
    /// Judges and tells.
    fn is_as_it_must_be(&self, name: &str, expected: Expected) -> bool {
        let (excused, leaks): (Vec<_>, Vec<_>) = self.complaints.iter().partition(|it| it.excuse().is_some());
        let well = leaks.is_empty() == (expected == Expected::Clean);
        let verdict = if well { "ok" } else { "FAILED" };
        println!("{verdict:<6} {name}: {} leaks, {} verdicts that are public", leaks.len(), excused.len());
        for leak in leaks.iter().filter(|_| !well) {
            println!("{leak:#?}");
        }
        well
    }
}

fn run_one(argument: &str) -> Result<(), String> {
    if !valgrind::is_running() {
        return Err("not under valgrind: nothing would be noticed".to_owned());
    }
    if let Some(name) = argument.strip_prefix(BACKENDS) {
        for backend in Backend::available().filter(|backend| name.is_empty() || backend.name() == name) {
            if name.is_empty() {
                println!("{backend}");
            } else {
                batches(backend.pure());
                println!("ran {backend}");
            }
        }
        return Ok(());
    }
    println!("valgrind offers AVX2: {}", std::arch::is_x86_feature_detected!("avx2"));
    let case = argument.parse().ok().and_then(|number: usize| CASES.get(number));
    let (_, case, _) = case.ok_or("no such case")?;
    case();
    Ok(())
}

/// Bytes that follow from a number, secret from now on.
fn secret<const N: usize>(number: u8) -> [u8; N] {
    let bytes: [u8; N] =
        core::array::from_fn(|at| number.wrapping_mul(167).wrapping_add(low_byte(at)).rotate_left(3));
    make_secret(black_box(&bytes));
    bytes
}

const fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// A verdict that is seen from outside, by what happens next.
fn verdict(verdict: bool) -> bool {
    let byte = [u8::from(verdict)];
    make_public(black_box(&byte));
    black_box(byte)[0] == 1
}

// --- controls ---

fn compare_and_end_early() {
    let (one, other) = (secret::<32>(1), secret::<32>(1));
    let mut equal = true;
    for (one, other) in one.iter().zip(&other) {
        if black_box(one) != black_box(other) {
            equal = false;
            break;
        }
    }
    black_box(verdict(equal));
}

fn look_up() {
    let table: [u8; 256] = core::array::from_fn(low_byte);
    let [index] = secret::<1>(2);
    black_box(black_box(&table)[usize::from(index)]);
}

// --- keys ---

fn public_key<D: Dh>() {
    let key = D::new(PrivateKey::from_bytes(secret(3)));
    // It is sent, or given to the peer.
    make_public(black_box(key.public_key()).as_bytes());
}

fn diffie_hellman<D: Dh>() {
    let key = D::new(PrivateKey::from_bytes(secret(4)));
    let their = PublicKey::from_bytes([9; 32]);
    let shared: Result<SharedSecret, _> = key.diffie_hellman(&their);
    assert!(black_box(shared).is_ok(), "9 is not of low order");
}

fn compare_private_keys() {
    for other in [5, 6] {
        let equal = PrivateKey::from_bytes(secret(5)) == PrivateKey::from_bytes(secret(other));
        // Whether the key changed is seen by what the device does next.
        assert_eq!(verdict(equal), other == 5);
    }
}

fn preshared_key_is_none() {
    for bytes in [secret(7), [0; 32]] {
        make_secret(black_box(&bytes));
        let expected = verdict(PresharedKey::from_bytes(bytes).is_none());
        // Configuration shows it, to the owner.
        black_box(expected);
    }
}

// --- MACs ---

fn mac1() {
    // The public key is taken for a secret: not everyone is to learn whom a message is for.
    let key = Mac1Key::new(&PublicKey::from_bytes(secret(8)));
    let mut message = [0x55; 148];
    make_public(&key.write(&mut message));
    make_public(&message);
    assert!(verdict(key.verify(&message)));
    message[131] ^= 1;
    assert!(!verdict(key.verify(&message)));
}

fn mac1_batch() {
    let key = Mac1Key::new(&PublicKey::from_bytes(secret(16)));
    let mut messages = [[0x55; 148]; 9];
    for (number, message) in messages.iter_mut().enumerate() {
        message[5] = low_byte(number);
        make_public(&key.write(message));
        message[140 - 10 * (number & 1)] ^= 1;
    }
    make_public(messages.as_flattened());
    let mut right = [false; 9];
    key.verify_batch(&messages, &mut right);
    assert_eq!(right.map(verdict), core::array::from_fn(|number| number & 1 == 0));
}

fn cookie() {
    let public = PublicKey::from_bytes([10; 32]);
    let mac1_key = Mac1Key::new(&public);
    let (mut checker, mut jar) = (CookieChecker::new(&public), CookieJar::default());
    checker.set_secret(secret(11), NOW);
    let source = SIDES[0].parse().unwrap_or_else(|_| unreachable!());
    let mut message = [0x55; 148];
    jar.write_macs(&mac1_key, &mut message, NOW);
    let mac1: [u8; 16] = core::array::from_fn(|at| message[116 + at]);
    let index = SessionIndex::new(1);
    let made = checker.create_reply(index, &mac1, source, NOW, &mut Entropy(1));
    let Ok(reply) = made;
    // It is sent.
    make_public(black_box(&reply));
    let Ok(view) = wg_proto::wire::CookieReply::parse(&reply) else { unreachable!("a cookie reply") };
    assert!(jar.consume_reply(&public, &view, NOW).is_ok());
    jar.write_macs(&mac1_key, &mut message, NOW);
    make_public(black_box(&message));
    assert!(verdict(checker.verify_mac2(&message, source, NOW)));
    message[147] ^= 1;
    assert!(!verdict(checker.verify_mac2(&message, source, NOW)));
}

// --- packets ---

fn seal_and_open<A: Aead>() {
    let key = A::new(&secret(12));
    // Below and above the lengths at which backends go over to wider blocks.
    for length in [0, 16, 100, 255, 256, 1420] {
        let mut packet = vec![0x55; length + 16];
        make_secret(&packet[..length]);
        assert!(key.seal_in_place(7, &mut packet).is_ok());
        // It is sent.
        make_public(black_box(&packet));
        assert!(key.open_in_place(7, &mut packet).is_ok());
        black_box(&packet);
    }
}

fn forgery() {
    fn refused<A: Aead>() {
        let key = A::new(&secret(13));
        let mut packet = [0x55; 116];
        assert!(key.open_in_place(7, &mut packet).is_err());
    }
    refused::<RustCryptoAead>();
    refused::<RingAead>();
}

/// Batches of one key and of two, of lengths to either side of what kernels change their ways at, in every form; with forgeries
/// among them. What is summed up is secret; where it stands and whether it is asked for is not.
fn batches(backend: Backend) {
    let keys = [Key::new(&secret(17)), Key::new(&secret(18))];
    for (count, lens, two) in [
        (1, &[0][..], 1),
        (1, &[100], 1),
        (7, &[64, 100, 0, 17], 2),
        (40, &[200], 1),
        (20, &[255, 256, 257, 1420, 16, 0, 31], 2),
    ] {
        let plain: Vec<Vec<u8>> = (0..count).map(|at| vec![0x45; lens[at % lens.len()]]).collect();
        let mut outs: Vec<Vec<u8>> = plain.iter().map(|plain| [&plain[..], &[0; TAG_LEN]].concat()).collect();
        for bytes in plain.iter().chain(outs.iter()) {
            make_secret(black_box(bytes));
        }
        let mut jobs: Vec<SealJob<'_>> = Vec::new();
        for (at, (plain, out)) in plain.iter().zip(&mut outs).enumerate() {
            let key = &keys[at % two];
            let job = match at % 3 {
                0 => SealJob::in_place(key, at as u64, out),
                1 => SealJob::copy(key, at as u64, plain, out),
                _ => {
                    let (head, body) = plain.split_at(plain.len().min(40));
                    SealJob::gather(key, at as u64, head, body, out)
                }
            };
            let summing = at % 4 == 1 && plain.len() > 40;
            jobs.push(if summing { job.with_checksum(Checksum { start: 20, offset: 6 }) } else { job });
        }
        backend.seal_batch(&mut jobs);
        assert!(jobs.iter().all(|job| job.result().is_ok()));
        // They are sent.
        for out in &outs {
            make_public(black_box(out));
        }
        outs[count / 2][0] ^= 1;
        let mut copies: Vec<Vec<u8>> = plain.iter().map(|plain| vec![0; plain.len()]).collect();
        let mut jobs: Vec<OpenJob<'_>> = Vec::new();
        for (at, (out, copy)) in outs.iter_mut().zip(&mut copies).enumerate() {
            let key = &keys[at % two];
            let job = match at % 2 {
                0 => OpenJob::in_place(key, at as u64, out),
                _ => OpenJob::copy(key, at as u64, out, copy),
            };
            jobs.push(if at % 3 == 1 { job.summing() } else { job });
        }
        backend.open_batch(&mut jobs);
        for (at, job) in jobs.iter().enumerate() {
            // Whether it is authentic is seen by what happens next.
            assert_eq!(verdict(job.result().is_ok()), at != count / 2);
        }
        black_box(&copies);
    }
}

// --- everything ---

/// Entropy that follows from a number. What may become a key is secret; indices and nonces are sent.
struct Entropy(u64);

impl TryRng for Entropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|word| u32::try_from(word >> 32).unwrap_or_default())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        Ok(self.0 ^ self.0 >> 29)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in &mut *out {
            *byte = self.try_next_u64()?.to_le_bytes()[5];
        }
        if out.len() == 32 {
            make_secret(out);
        }
        Ok(())
    }
}

impl TryCryptoRng for Entropy {}

/// A private key that makes its public key public, as it has been given to the peer.
struct Identity(PrivateKey);

impl StaticIdentity for Identity {
    fn public_key(&self) -> PublicKey {
        let public = self.0.public_key();
        make_public(black_box(&public).as_bytes());
        public
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        Ok(self.0.diffie_hellman(their)?)
    }
}

/// A whole handshake between two peers, under load and with a cookie, and packets both ways.
fn handshake<A: Aead>() {
    let mut entropy = Entropy(3);
    let keys = [14, 15].map(|number| Identity(PrivateKey::from_bytes(secret(number))));
    let publics = keys.each_ref().map(Identity::public_key);
    let mut side = 0;
    let mut peers = keys.map(|key| {
        let mut config = Config::new(publics[1 - side]);
        config.preshared_key = PresharedKey::from_bytes(secret(16));
        config.endpoint = SIDES[1 - side].parse().ok();
        side += 1;
        match Peer::<_, A>::new(key, config, &mut entropy) {
            Ok(peer) => peer,
            Err(error) => unreachable!("{error}"),
        }
    });
    peers[0].initiate(NOW);
    let mut now = NOW;
    // The initiation is answered by a cookie, and sent again with it after the time of a retransmission.
    exchange(&mut peers, Load::UnderLoad, now, &mut entropy);
    now = now.saturating_add(core::time::Duration::from_secs(6));
    peers[0].handle_timeout(now);
    exchange(&mut peers, Load::UnderLoad, now, &mut entropy);
    for from in [0, 1, 0, 1] {
        let packet = [0x45; 100];
        make_secret(&packet);
        let mut datagram = vec![0; 256];
        let Ok(length) = peers[from].seal(&packet, &mut datagram, now) else { unreachable!("a session") };
        make_public(&datagram);
        deliver(&mut peers, from, &mut datagram[..length], Load::Normal, now, &mut entropy);
        exchange(&mut peers, Load::Normal, now, &mut entropy);
    }
}

fn exchange<A: Aead>(peers: &mut [Peer<Identity, A>; 2], load: Load, now: Instant, entropy: &mut Entropy) {
    let mut quiet = 0;
    for from in [0, 1].into_iter().cycle() {
        let mut out = [0; 256];
        match peers[from].poll_transmit(&mut out, now, WALL, entropy) {
            Ok(Some(transmit)) => {
                quiet = 0;
                // It is sent.
                make_public(&out);
                // The initiator is not under load: it would ask for a cookie of the responder.
                let load = if from == 0 { load } else { Load::Normal };
                deliver(peers, from, &mut out[..transmit.len], load, now, entropy);
            }
            Ok(None) => quiet += 1,
            Err(error) => unreachable!("{error}"),
        }
        if quiet == 2 {
            return;
        }
    }
}

fn deliver<A: Aead>(
    peers: &mut [Peer<Identity, A>; 2],
    from: usize,
    datagram: &mut [u8],
    load: Load,
    now: Instant,
    entropy: &mut Entropy,
) {
    let Ok(source) = SIDES[from].parse() else { unreachable!("an address") };
    let handled = peers[1 - from].handle(datagram, Endpoint::new(source), load, now, WALL, entropy);
    match handled {
        Ok(Handled::Packet(packet)) => assert_eq!(packet.len(), 112),
        Ok(_) | Err(wg_proto::ReceiveError::Challenged) => {}
        Err(error) => unreachable!("{error}"),
    }
}
