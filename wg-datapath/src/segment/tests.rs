extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
