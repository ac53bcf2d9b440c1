//! The vector file, its hex fields read as bytes.

use serde_json::Value;

pub(crate) struct Vector(Value);

impl Vector {
    pub(crate) fn load() -> Self {
        Self(serde_json::from_str(include_str!("wg_handshake_vector.json")).unwrap())
    }

    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_else(|| panic!("no field {field}"))
    }

    pub(crate) fn bytes(&self, field: &str) -> Vec<u8> {
        let text = self.text(field);
        assert_eq!(text.len() % 2, 0, "{field}");
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    pub(crate) fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        self.bytes(field).try_into().unwrap_or_else(|_| panic!("{field} is not {N} bytes long"))
    }

    pub(crate) fn index(&self, field: &str) -> u32 {
        u32::from_str_radix(self.text(field).strip_prefix("0x").unwrap(), 16).unwrap()
    }

    pub(crate) fn number<T: TryFrom<u64>>(&self, field: &str) -> T {
        let number = self.0[field].as_u64().unwrap_or_else(|| panic!("no number {field}"));
        T::try_from(number).unwrap_or_else(|_| panic!("{field} is too large"))
    }

    /// Chaining key and hash after a step.
    pub(crate) fn state(&self, step: &str) -> ([u8; 32], [u8; 32]) {
        (self.array(&format!("state after {step} ck")), self.array(&format!("state after {step} h")))
    }
}
