//! Reads a configuration file into memory that is wiped, and looks at who else can.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::wiped;

/// The longest file that is read.
pub const MAX_FILE_LEN: usize = 16 << 20;

/// Read at once.
const CHUNK_LEN: usize = 16 * 1024;

/// Reads a file, which may also be a pipe, to its end but not beyond one byte more than [`MAX_FILE_LEN`].
///
/// # Errors
///
/// What the system says.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    let mut text = Zeroizing::new(Vec::new());
    let mut chunk = Zeroizing::new(vec![0; CHUNK_LEN]);
    while text.len() <= MAX_FILE_LEN {
        let room = (MAX_FILE_LEN + 1 - text.len()).min(CHUNK_LEN);
        match file.read(&mut chunk[..room]) {
            Ok(0) => break,
            Ok(len) => wiped::append(&mut text, &chunk[..len], CHUNK_LEN),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(text)
}

/// Tells whether everybody can read, write or run the file, and reach it in its directory: what `wg-quick` warns of.
///
/// What cannot be looked at, or is no file but a pipe, is not accessible.
#[must_use]
pub fn is_world_accessible(path: &Path) -> bool {
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let (Ok(file), Ok(directory)) = (fs::metadata(path), fs::metadata(parent)) else { return false };
    file.is_file() && file.permissions().mode() & directory.permissions().mode() & 0o007 != 0
}

/// Tells whether the path is one of the names of standard input, which a background process does not share.
#[must_use]
pub fn is_standard_input(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A directory of its own, removed when dropped.
    struct Directory(std::path::PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("wg-conf-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, text: &[u8]) -> std::path::PathBuf {
            let path = self.0.join("conf");
            File::create(&path).unwrap().write_all(text).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_read_to_its_end_and_a_longer_one_to_one_byte_beyond_the_bound() {
        let directory = Directory::new("read");
        let text: Vec<u8> = (0..=u8::MAX).cycle().take(3 * CHUNK_LEN + 5).collect();
        assert_eq!(*read(&directory.file(&text)).unwrap(), text);
        assert_eq!(*read(&directory.file(b"")).unwrap(), b"");
        let file = directory.file(&vec![b' '; MAX_FILE_LEN + CHUNK_LEN]);
        assert_eq!(read(&file).unwrap().len(), MAX_FILE_LEN + 1);
        assert_eq!(read(&directory.0.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_accessible_if_it_and_its_directory_are() {
        let directory = Directory::new("mode");
        let file = directory.file(b"");
        for (file_mode, directory_mode, expected) in [
            (0o600, 0o755, false),
            (0o640, 0o755, false),
            (0o644, 0o755, true),
            (0o644, 0o750, false),
            (0o604, 0o701, false),
        ] {
            set_mode(&file, file_mode);
            set_mode(&directory.0, directory_mode);
            assert_eq!(is_world_accessible(&file), expected, "{file_mode:o} {directory_mode:o}");
        }
        assert!(
            !is_world_accessible(Path::new("/dev/null")) && !is_world_accessible(&directory.0.join("none"))
        );
    }
}
