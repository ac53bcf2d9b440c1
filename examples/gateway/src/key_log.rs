//! The key log of a gateway that was built to give its keys away: to the file that `WG_KEYLOGFILE` names.
//!
//! For tests that decrypt a capture. The file is for its owner only (mode 0600) and appended to; the gateway says loudly
//! that it is written, and does not start if it cannot be.

use std::env;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use wg_proto::{KeyLog, KeyLogRecord};
use wg_sys_linux::Error;

/// The environment variable that names the file.
pub const KEY_LOG_FILE: &str = "WG_KEYLOGFILE";

/// A file that takes all keys of the gateway.
#[derive(Debug)]
pub struct KeyLogFile(File);

impl KeyLogFile {
    /// Opens the file, for the owner only, to append to it.
    ///
    /// # Errors
    ///
    /// That of the system; one is that the file belongs to somebody else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        // It may have been there before, for more than its owner.
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(Self(file))
    }

    /// Opens the file that the environment names, if it names one. It stays open as long as the process lives.
    ///
    /// # Errors
    ///
    /// That it cannot be opened.
    pub fn from_environment() -> Result<Option<&'static Self>, Error> {
        let Some(path) = env::var_os(KEY_LOG_FILE).filter(|path| !path.is_empty()) else { return Ok(None) };
        let log = Self::open(Path::new(&path)).map_err(|error| Error::new("open the key log", error))?;
        tracing::error!("ALL KEYS ARE WRITTEN TO {}: whoever reads it reads this tunnel", path.display());
        Ok(Some(Box::leak(Box::new(log))))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, record: KeyLogRecord<'_>) {
        // In one piece, so that processes that share the file do not mix their lines.
        let text = zeroize::Zeroizing::new(record.to_string());
        if let Err(error) = (&self.0).write_all(text.as_bytes()) {
            tracing::error!("the key log lacks a record: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wg_proto::PublicKey;

    #[test]
    fn file_is_for_its_owner_only_and_is_appended_to() {
        let path = env::temp_dir().join(format!("wg-keylog-{}", std::process::id()));
        std::fs::write(&path, "before\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let log = KeyLogFile::open(&path).unwrap();
        let remote_public = PublicKey::from_bytes([0; 32]);
        log.log(KeyLogRecord::Static { local_private: None, remote_public: &remote_public });
        let (text, mode) =
            (std::fs::read_to_string(&path).unwrap(), path.metadata().unwrap().permissions().mode());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "before\nREMOTE_STATIC_PUBLIC_KEY = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn file_that_cannot_be_opened_is_an_error() {
        assert!(KeyLogFile::open(Path::new("/nonexistent/keys")).is_err());
    }
}
