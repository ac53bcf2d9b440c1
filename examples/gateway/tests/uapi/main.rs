//! The configuration protocol against a model device: the meaning of every key, the table of bad input, hostile and
//! forgetful clients on a real socket, and the real `wg`.

mod clients;
mod model;
mod rig;
mod sections;
mod table;
mod tools;
