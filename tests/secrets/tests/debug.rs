//! Whatever is formatted, however: no secret is in it.

use wg_proto::aead::{RingAead, RustCryptoAead};
use wg_proto::dh::AwsLcDh;
use wg_secrets::learn::secrets_of;
use wg_secrets::masked::Text;
use wg_secrets::scenario::{Devices, Peers, Scenario, Stage};

/// Formats everything there is, after each stage, and looks for each secret of the whole run.
fn shows_nothing<S: Scenario + core::fmt::Debug>() {
    let secrets = secrets_of::<S>().unwrap();
    assert!(secrets.len() > 100, "{}", secrets.len());
    let mut scenario = S::make(false);
    for stage in Stage::ALL {
        scenario.go(stage);
        for text in [format!("{scenario:?}"), format!("{scenario:#?}"), format!("{scenario:x?}")] {
            let shown = Text::new(&text);
            for secret in &secrets {
                assert!(!secret.is_shown_in(&shown), "{stage:?}: {secret:?} in {text}");
            }
        }
    }
}

#[test]
fn peers_and_devices_show_no_secret_at_any_stage() {
    // S3, C25: all that these hold, down to the last field, is formatted by their own `Debug`.
    shows_nothing::<Peers<RustCryptoAead>>();
    shows_nothing::<Peers<RingAead>>();
    shows_nothing::<Devices<RustCryptoAead>>();
    shows_nothing::<Devices<RingAead>>();
    shows_nothing::<Devices<RingAead, AwsLcDh>>();
}
