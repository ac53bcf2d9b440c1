//! The parser by itself: framing, bounds, and that neither garbage nor the cuts between reads matter.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

#[test]
fn a_request_is_reported_at_its_blank_line() {
    let mut parser = Parser::new();
    let (used, step) = parser.feed(b"set=1\nlisten_port=7\n\nget=1\n\n");
    assert_eq!((used, show(&step)), (21, "set [ListenPort(7)] Ok(())".into()));
    assert!(parser.is_idle());
    let (used, step) = parser.feed(b"get=1\n\n");
    assert_eq!((used, show(&step)), (7, "get Ok(())".into()));
}

#[test]
fn several_requests_come_out_in_order() {
    assert_eq!(
        events(&[b"set=1\n\nget=1\n\nset=1\nfwmark=1\n\n"]),
        ["set [] Ok(())", "get Ok(())", "set [FirewallMark(1)] Ok(())"]
    );
}

#[test]
fn anything_but_get_or_set_closes() {
    for first in ["get=2\n", "set=1 \n", "set=1\r\n", "\n", "SET=1\n", "get\n", "\0\n"] {
        assert_eq!(events(&[first.as_bytes(), b"get=1\n\n"]), ["close", "close"], "{first:?}");
    }
    assert_eq!(events(&[&[b'g'; MAX_LINE_LEN + 1]]), ["close"]);
}

#[test]
fn the_first_byte_after_get_that_is_no_newline_is_invalid() {
    assert_eq!(events(&[b"get=1\nx"]), ["get Err(Errno(22))"]);
    assert_eq!(events(&[b"get=1\n\r\n"]), ["get Err(Errno(22))"]);
    assert_eq!(events(&[b"get=1\nx=y\n\nget=1\n\n"]), ["get Err(Errno(22))", "get Ok(())"]);
}

#[test]
fn a_bad_line_is_reported_at_once_with_the_lines_before_it() {
    assert_eq!(
        events(&[b"set=1\nfwmark=1\nbad\nfwmark=2\n"]),
        ["set [FirewallMark(1)] Err(Errno(71))"],
        "the rest waits for no blank line and has no effect"
    );
}

#[test]
fn the_rest_of_a_failed_set_is_passed_over_to_the_next_request() {
    for rest in ["fwmark=2\n\n", "\n", "=\nx\r\n\r\n", ""] {
        let input = format!("set=1\nbad\n{rest}get=1\n\n");
        assert_eq!(events(&[input.as_bytes()]), ["set [] Err(Errno(71))", "get Ok(())"], "{rest:?}");
    }
}

#[test]
fn a_line_over_the_limit_is_an_io_error_and_one_at_the_limit_is_judged() {
    let longest = "x".repeat(MAX_LINE_LEN);
    assert_eq!(
        events(&[format!("set=1\n{longest}\n\nget=1\n\n").as_bytes()]),
        ["set [] Err(Errno(71))", "get Ok(())"]
    );
    for len in [MAX_LINE_LEN + 1, 1 << 20] {
        let line = "x".repeat(len);
        assert_eq!(
            events(&[format!("set=1\nfwmark=3\n{line}\n\nget=1\n\n").as_bytes()]),
            ["set [FirewallMark(3)] Err(Errno(5))", "get Ok(())"],
            "{len} bytes"
        );
    }
}

#[test]
fn a_million_lines_pass_and_the_bound_on_lines_holds() {
    let prefixes = |count| {
        let mut text = format!("set=1\npublic_key={}\n", "01".repeat(32));
        for n in 0..count {
            text.push_str(&format!("allowed_ip={}/32\n", Ipv4Addr::from_bits(n)));
        }
        text + "\n"
    };
    let (_, step) = Parser::new().feed(prefixes(1_000_000).as_bytes());
    let Step::Request(Parsed { request: Request::Set(ops), outcome: Ok(()) }) = step else {
        panic!("a million lines were refused");
    };
    assert_eq!(ops.len(), 1_000_001);

    let (_, step) = Parser::new().feed(prefixes(MAX_LINES).as_bytes());
    let Step::Request(Parsed { request: Request::Set(ops), outcome }) = step else { panic!("no end") };
    assert_eq!((ops.len(), outcome), (1_048_576, Err(Errno::IO)));
}

#[test]
fn a_request_of_too_many_bytes_is_refused_and_what_follows_is_not_read_for_ever() {
    let line = format!("protocol_version=1{}\n", " ".repeat(60_000));
    let mut parser = Parser::new();
    parser.feed(b"set=1\n");
    assert_eq!(show(&parser.feed(line.as_bytes()).1), "set [] Err(Errno(22))");
    let mut passed = 0_u64;
    while show(&parser.feed(line.as_bytes()).1) == "more" {
        passed += line.len() as u64;
        assert!(passed <= MAX_SKIPPED_LEN, "still passing over a request");
    }
    assert_eq!(show(&parser.feed(b"\n").1), "close");

    let zeros = format!("fwmark={}1\n", "0".repeat(60_000));
    let mut parser = Parser::new();
    parser.feed(b"set=1\n");
    let mut taken = 0_u64;
    let step = loop {
        match parser.feed(zeros.as_bytes()).1 {
            Step::NeedMore => taken += zeros.len() as u64,
            step => break show(&step),
        }
        assert!(taken <= MAX_REQUEST_LEN, "still taking a request");
    };
    assert!(step.ends_with("Err(Errno(5))"));
}

#[test]
fn the_end_of_input_completes_a_set_but_no_half_line() {
    for (input, expected) in [
        ("set=1\n", "set [] Ok(())"),
        ("set=1\nfwmark=1\n", "set [FirewallMark(1)] Ok(())"),
        ("set=1\nfwmark=1\nlisten_port=51", "set [FirewallMark(1)] Err(Errno(5))"),
        ("set=1", "nothing"),
        ("get=1\n", "nothing"),
        ("set=1\nbad\nfwmark=1\n", "nothing"),
        ("", "nothing"),
    ] {
        let mut parser = Parser::new();
        parser.feed(input.as_bytes());
        let end = parser.finish().as_ref().map(show_parsed);
        assert_eq!(end.as_deref().unwrap_or("nothing"), expected, "{input:?}");
        assert!(parser.finish().is_none(), "{input:?} is reported once");
    }
}

#[test]
fn a_carriage_return_before_the_newline_of_a_body_line_is_ignored() {
    assert_eq!(events(&[b"set=1\nfwmark=1\r\n\r\n"]), ["set [FirewallMark(1)] Ok(())"]);
    assert_eq!(events(&[b"set=1\nfwmark=1\r\r\n"]), ["set [] Err(Errno(22))"]);
}

#[test]
fn idle_means_that_no_request_is_under_way() {
    let mut parser = Parser::new();
    for (piece, idle) in
        [("", true), ("g", false), ("et=1\n", false), ("\n", true), ("set=1\n", false), ("x\n", true)]
    {
        parser.feed(piece.as_bytes());
        assert_eq!(parser.is_idle(), idle, "after {piece:?}");
    }
}

#[test]
fn an_op_is_small_enough_for_a_million() {
    assert!(size_of::<Op>() <= 40, "{}", size_of::<Op>());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(input in vec(any::<u8>(), 0..2000)) {
        events(&[&input]);
        events(&[b"set=1\n", &input]);
        events(&[b"get=1\n", &input]);
    }

    #[test]
    fn cuts_between_reads_change_nothing(
        lines in vec(line(), 0..40),
        cuts in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let input = lines.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect();
        let single: Vec<_> = input.chunks(1).collect();
        let expected = events_to_end(&[&input]);
        prop_assert_eq!(events_to_end(&pieces), expected.clone());
        prop_assert_eq!(events_to_end(&single), expected);
    }
}

/// Lines of which many form requests, with and without their newline.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let key = "public_key=".to_owned() + &"5A".repeat(32);
    let psk = "preshared_key=".to_owned() + &"c3".repeat(32);
    let private = "private_key=".to_owned() + &"e1".repeat(32);
    let long = "x".repeat(MAX_LINE_LEN + 10);
    let known: Vec<String> = [
        "get=1",
        "set=1",
        "set=1",
        "",
        "",
        "listen_port=7",
        "fwmark=00012",
        "replace_peers=true",
        "update_only=true",
        "endpoint=[fe80::1%eth0]:51820",
        "endpoint=192.0.2.1:0",
        "allowed_ip=10.0.0.0/8",
        "allowed_ip=-fd00::/8",
        "remove=yes",
        "no equals sign",
    ]
    .map(Into::into)
    .into_iter()
    .chain([key.clone(), key, psk, private, long])
    .collect();
    let ending = select(vec!["\n", "\n", "\n", "\n", "\n", "\n", "\r\n", ""]);
    prop_oneof![
        9 => (select(known), ending).prop_map(|(line, ending)| (line + ending).into_bytes()),
        1 => vec(any::<u8>(), 0..60),
    ]
}

/// What comes of an input that arrives in pieces.
fn events(pieces: &[&[u8]]) -> Vec<String> {
    run(&mut Parser::new(), pieces)
}

fn events_to_end(pieces: &[&[u8]]) -> Vec<String> {
    let mut parser = Parser::new();
    let mut events = run(&mut parser, pieces);
    events.dedup_by(|a, b| a == "close" && b == "close");
    events.extend(parser.finish().map(|parsed| format!("at the end: {}", show_parsed(&parsed))));
    events
}

fn run(parser: &mut Parser, pieces: &[&[u8]]) -> Vec<String> {
    let mut events = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (used, step) = parser.feed(rest);
            assert!(used <= rest.len());
            rest = &rest[used..];
            match step {
                Step::NeedMore => assert!(rest.is_empty(), "asks for more before it took all"),
                step => events.push(show(&step)),
            }
        }
    }
    events
}

fn show(step: &Step) -> String {
    match step {
        Step::NeedMore => "more".into(),
        Step::Close => "close".into(),
        Step::Request(parsed) => show_parsed(parsed),
    }
}

/// Shows a request with its secrets, which `Debug` hides.
fn show_parsed(parsed: &Parsed) -> String {
    match &parsed.request {
        Request::Get => format!("get {:?}", parsed.outcome),
        Request::Set(ops) => {
            let ops: Vec<_> = ops
                .iter()
                .map(|op| match op {
                    Op::PrivateKey(Some(key)) => format!("PrivateKey({:?})", key.as_bytes()),
                    Op::PresharedKey(key) => format!("PresharedKey({:?})", key.as_bytes()),
                    op => format!("{op:?}"),
                })
                .collect();
            format!("set [{}] {:?}", ops.join(", "), parsed.outcome)
        }
    }
}
