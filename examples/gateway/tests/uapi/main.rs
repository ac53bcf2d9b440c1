//! The configuration protocol against a model device: the meaning of every key, the table of bad input, hostile and
//! forgetful clients on a real socket, the real `wg`, and configuration files as it reads them.

mod clients;
mod conf;
mod model;
mod rig;
mod sections;
mod table;
mod tools;
