//! The program as it is called: exit codes and messages, without the rights to make an interface (U1, U2, U5).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

fn gateway(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wg-gateway"))
        .args(arguments)
        .env_remove("LOG_LEVEL")
        .env_remove("WG_PROCESS_FOREGROUND")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn version_is_told_without_an_interface() {
    let output = gateway(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("wg-gateway {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn topology_is_printed_without_any_rights() {
    let output = gateway(&["topology", "--strategy", "inline", "--threads", "1"], &[]);
    assert_eq!((output.status.code(), message(&output)), (Some(0), String::new()));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("inline: 1 lane, 0 helpers\n") && table.contains("  lane 0  home of its peers\n"),
        "{table}"
    );
}

#[test]
fn mistakes_in_the_arguments_exit_with_one() {
    for arguments in
        [&[][..], &["-f"], &["a/b"], &["a-name-that-is-too-long"], &["-f", "--strategy", "none", "wg0"]]
    {
        let output = gateway(arguments, &[]);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_descriptor_that_is_no_tun_is_a_failed_set_up() {
    for (arguments, environment) in [
        (&["-f", "wgx"][..], &[("WG_TUN_FD", "999")][..]),
        (&["wgx"], &[("WG_TUN_FD", "999"), ("WG_PROCESS_FOREGROUND", "1")]),
        // By way of the background process, whose words the parent passes on.
        (&["wgx"], &[("WG_TUN_FD", "999")]),
        (&["wgx"], &[("WG_TUN_FD", "0")]),
        (&["-f", "wgx"], &[("WG_TUN_FD", "x")]),
    ] {
        let output = gateway(arguments, environment);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {environment:?}");
        assert!(message(&output).contains("descriptor"), "{environment:?}: {}", message(&output));
    }
}

#[test]
fn program_holds_no_key_log_unless_built_for_it() {
    // S8: words that stand nowhere but in the code of the key log. Built with the feature, the program has them all.
    let program = fs::read(env!("CARGO_BIN_EXE_wg-gateway")).unwrap();
    for word in ["WG_KEYLOGFILE", "LOCAL_STATIC_PRIVATE_KEY", "LOCAL_EPHEMERAL_PRIVATE_KEY", "KEYS ARE"] {
        let has = program.windows(word.len()).any(|window| window == word.as_bytes());
        assert_eq!(has, cfg!(feature = "key-log"), "{word}");
    }
}

#[test]
fn silence_is_kept_about_a_failed_set_up() {
    let output = gateway(&["-f", "wgx"], &[("WG_TUN_FD", "999"), ("LOG_LEVEL", "silent")]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(message(&output), "");
}

/// W1: a file that is wrong, missing or too long is told by its name and line before anything is made; the descriptor
/// that is no TUN is not even looked at.
#[test]
fn a_bad_configuration_file_is_a_failed_set_up() {
    let directory = std::env::temp_dir().join(format!("wg-program-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("conf");
    let path = file.to_str().unwrap();
    for (text, expected) in [
        ("[Interface]\n\nPrivateKey = hidden\n", format!("{path}:3: not a key")),
        ("[Interface]\nDNS = 10.0.0.1\n", format!("{path}:2: this key is for wg-quick")),
        ("[Interface]\nListenPort = no-such-service\n", format!("{path}:2: the service is not known")),
        ("", String::from("descriptor")),
    ] {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        // In the foreground, and by way of the background process, whose words the parent passes on.
        for arguments in [&["-f", "--config", path, "wgx"][..], &["--config", path, "wgx"]] {
            let output = gateway(arguments, &[("WG_TUN_FD", "999")]);
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {text:?}");
            let message = message(&output);
            assert!(message.contains(&expected) && !message.contains("hidden"), "{text:?}: {message}");
            assert!(!message.contains("accessible"), "{message}");
        }
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let warned = message(&gateway(&["--config", path, "wgx"], &[("WG_TUN_FD", "999")]));
    assert_eq!(warned.matches("is world accessible").count(), 1, "{warned}");
    fs::remove_dir_all(&directory).unwrap();

    let missing = message(&gateway(&["-f", "--config", path, "wgx"], &[("WG_TUN_FD", "999")]));
    assert!(missing.contains(&format!("{path}: No such file")), "{missing}");
    let standard_input = gateway(&["--config", "/dev/stdin", "wgx"], &[("WG_TUN_FD", "999")]);
    assert_eq!(standard_input.status.code(), Some(1));
    assert!(message(&standard_input).contains("standard input"), "{}", message(&standard_input));
}
