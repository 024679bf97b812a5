//! Every aim of this project as a command, their figures as medians, and the document that is written from them.
//!
//! Rooms: `probes` are the commands; `rows` the aims, and which command's figures decide each; `figure` what a figure is,
//! its unit and its aim; `samples` medians; `kept` what was measured, in files, so that nothing is lost when a run is cut off;
//! `measure` runs the commands in rounds; `peers` what the comparison with others said; `book` all of that together; `page`
//! the document; `options` what can be told. The capacity guide is another: `curves` are its commands, `sizing` its formulas, and `guide` puts both
//! into its prose.

pub mod book;
pub mod curves;
pub mod figure;
pub mod guide;
pub mod kept;
pub mod measure;
pub mod options;
pub mod page;
pub mod peers;
pub mod probes;
pub mod rows;
pub mod samples;
pub mod sizing;
