//! What memcheck complains of, and which of it is no leak: a branch on something that everyone sees by what happens next.

use std::path::Path;

/// Why the verdict on a tag is public.
const TAG: &str = "whether a tag is right is the result";

/// A line of source that may branch on a secret: the end of its path, a piece of its text, and why.
const PUBLIC: [(&str, &str, &str); 14] = [
    (
        "/wg-proto/src/key.rs",
        "Err(LowOrderPoint)",
        "whether a Diffie-Hellman result is zero decides about an answer (C20); nothing else of it shows",
    ),
    (
        "/wg-proto/src/guard.rs",
        "if self.verify_mac1(message)",
        "whether MAC1 is right decides about an answer",
    ),
    ("/wg-proto/src/guard.rs", "if self.verify_mac2(", "whether MAC2 is right decides about an answer"),
    (
        "/wg-proto/src/peer.rs",
        "identified.remote_static() != self.control.remote_static()",
        "whom an authentic message names is no key of ours; whether it is our peer decides about an answer",
    ),
    ("/chacha20poly1305-0.11.0/src/cipher.rs", "if self.mac.verify(tag).is_ok()", TAG),
    (
        "/ring-0.17.14/src/aead/algorithm.rs",
        "if bb::verify_slices_are_equal(calculated_tag.as_ref(), received_tag.as_ref()).is_err()",
        TAG,
    ),
    ("/wg-aead/src/portable/open.rs", "if opening.is_authentic(", TAG),
    ("/wg-aead/src/portable/open.rs", "if packet.authentic && packet.summing", TAG),
    ("/wg-aead/src/portable/open.rs", "Some(Some(packet)) if packet.authentic", TAG),
    ("/wg-aead/src/arch/avx2/passes.rs", "if packet.authentic", TAG),
    ("/wg-aead/src/arch/avx2/passes.rs", "!wanted(turn.packet)", TAG),
    ("/wg-aead/src/arch/avx2/passes.rs", "forged >> packet & 1", TAG),
    ("/wg-aead/src/library/ring.rs", "if !packet.authentic", TAG),
    ("/wg-aead/src/library/rustcrypto.rs", "if !packet.authentic", TAG),
];

/// The same for C, whose files are not where the compiler says: the function, its file and its line, and why. An update
/// moves the line and asks again.
const PUBLIC_IN_C: [(&str, &str, usize, &str); 1] = [(
    "pkey_x25519_derive",
    "/aws-lc/crypto/evp_extra/p_x25519.c",
    54,
    "whether a Diffie-Hellman result is zero decides about an answer (C20); nothing else of it shows",
)];

/// A complaint of memcheck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What depends on a secret.
    pub what: String,
    /// Where, the innermost first: function, file, line.
    pub frames: Vec<(String, String, usize)>,
}

impl Complaint {
    /// Reads what valgrind printed with `--fullpath-after=`.
    #[must_use]
    pub fn read_all(text: &str) -> Vec<Self> {
        let mut complaints: Vec<Self> = Vec::new();
        for line in text.lines() {
            // "==123== " and the text.
            let Some((_, said)) = line.strip_prefix("==").and_then(|line| line.split_once("==")) else {
                continue;
            };
            let said = said.trim();
            let frame = said.strip_prefix("at ").or_else(|| said.strip_prefix("by "));
            match (frame, complaints.last_mut()) {
                (Some(frame), Some(complaint)) => complaint.frames.push(read_frame(frame)),
                (None, _) if !said.is_empty() => {
                    complaints.push(Self { what: said.to_owned(), frames: Vec::new() });
                }
                _ => {}
            }
        }
        complaints.retain(|complaint| !complaint.frames.is_empty());
        complaints
    }

    /// Why this is no leak, if it is none: it is a branch, and the innermost line of all, in C, or the innermost that is not of
    /// the standard library or of valgrind, is one of those listed above.
    #[must_use]
    pub fn excuse(&self) -> Option<&'static str> {
        if !self.what.starts_with("Conditional jump or move") {
            return None;
        }
        let (function, file, line) = self.frames.first()?;
        let is_here =
            |(name, path, at, _): &&(&str, &str, usize, &str)| name == function && path == file && at == line;
        if let Some((.., why)) = PUBLIC_IN_C.iter().find(is_here) {
            return Some(why);
        }
        let (_, file, line) = self.frames.iter().find(|(_, file, _)| Path::new(file).is_file())?;
        let source = std::fs::read_to_string(file).ok()?;
        let text = source.lines().nth(line.checked_sub(1)?)?;
        let excuse = PUBLIC.iter().find(|(path, piece, _)| file.ends_with(path) && text.contains(piece));
        excuse.map(|(_, _, why)| *why)
    }
}

/// Reads "0x123: function (file:45)"; a file that is not known is empty.
fn read_frame(frame: &str) -> (String, String, usize) {
    let frame = frame.split_once(": ").map_or(frame, |(_, frame)| frame);
    let Some((function, place)) = frame.rsplit_once(" (") else {
        return (frame.to_owned(), String::new(), 0);
    };
    let place = place.trim_end_matches(')');
    match place.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?))) {
        Some((file, line)) => (function.to_owned(), file.to_owned(), line),
        None => (function.to_owned(), String::new(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "==7== Conditional jump or move depends on uninitialised value(s)\n\
                        ==7==    at 0x12: a::b::new (KEY:LINE)\n==7==    by 0x34: c (in /usr/lib/x.so)\n==7== \n\
                        ==7== Use of uninitialised value of size 8\n==7==    at 0x12: a::b::new (KEY:LINE)\n==7== \n";

    #[test]
    fn only_a_branch_on_a_verdict_is_excused() {
        let key = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wg-proto/src/key.rs");
        let source = std::fs::read_to_string(key).unwrap();
        let verdict = source.lines().position(|line| line.contains("Err(LowOrderPoint)")).unwrap() + 1;
        let at =
            |line: usize| Complaint::read_all(&TEXT.replace("KEY", key).replace("LINE", &line.to_string()));
        let complaints = at(verdict);
        assert_eq!((complaints.len(), complaints[0].frames.len()), (2, 2));
        assert!(complaints[0].excuse().is_some(), "the verdict");
        assert_eq!(complaints[1].excuse(), None, "an address is never a verdict");
        assert_eq!(at(verdict + 3)[0].excuse(), None, "another line");
        let in_c = |function: &str, line: &str| {
            let (_, file, ..) = PUBLIC_IN_C[0];
            let text = TEXT.replace("a::b::new", function).replace("KEY", file).replace("LINE", line);
            Complaint::read_all(&text)[0].excuse().is_some()
        };
        assert!(in_c("pkey_x25519_derive", "54"));
        assert!(!in_c("pkey_x25519_derive", "55") && !in_c("x25519_scalar_mult_generic_nohw", "54"));
        assert_eq!(Complaint::read_all(&TEXT.replace("KEY", "no.rs").replace("LINE", "1"))[0].excuse(), None);
    }
}
