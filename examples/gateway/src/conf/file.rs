//! Reads a configuration file into memory that is wiped, and looks at who else can.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

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
            Ok(len) => append(&mut text, &chunk[..len]),
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

/// Adds to a text; when it must grow, the old copy is wiped.
fn append(text: &mut Vec<u8>, bytes: &[u8]) {
    let needed = text.len() + bytes.len();
    if needed > text.capacity() {
        let mut longer = Vec::with_capacity(needed.next_power_of_two());
        longer.extend_from_slice(text);
        text.zeroize();
        *text = longer;
    }
    text.extend_from_slice(bytes);
}
